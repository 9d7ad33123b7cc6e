"""The functions that numba compiles: the stream, the computation, and the loops over memory.

============  ====================================================================
`philox`      draws the random words, in blocks and in groups of blocks
`rules`       defines the computations
`normals`     turns words into normal numbers
`halves`      converts float16 and bfloat16, which are passed as their bits
`elements`    computes one element
`memory`      handles addresses, memory on the stack, and prefetching
`sources`     handles the arrays to read, and positions in them
`runs`        loops over plain memory
`tiles`       loops over arrays of any strides
`blocks`      draws and applies the mask of connected blocks
`packed`      loops over plain memory with a mask of one bit per element
`entries`     makes the functions that are compiled and called
============  ====================================================================
"""
