"""What numba compiles: the stream, one element of each dtype, and the ways through memory.

============  ====================================================================
`philox`      the words of the stream, by blocks and by groups of blocks
`halves`      float16 and bfloat16, which travel as their bits
`elements`    what becomes of one element
`memory`      memory by its address, memory on the stack, and prefetching
`sources`     the arrays that are read, and places in them
`runs`        the way through plain memory
`tiles`       the way through arrays of any strides
`blocks`      the mask of connected blocks
`entries`     the functions that are compiled and called
============  ====================================================================
"""
