"""What numba compiles: the stream, what becomes of an element, and the ways through memory.

============  ====================================================================
`philox`      the words of the stream, by blocks and by groups of blocks
`rules`       the rules by which elements are made
`normals`     the normal numbers of words
`halves`      float16 and bfloat16, which travel as their bits
`elements`    what becomes of one element
`memory`      memory by its address, memory on the stack, and prefetching
`sources`     the arrays that are read, and places in them
`runs`        the way through plain memory
`tiles`       the way through arrays of any strides
`blocks`      the mask of connected blocks
`packed`      the way through plain memory by a mask of one bit an element
`entries`     the functions that are compiled and called
============  ====================================================================
"""
