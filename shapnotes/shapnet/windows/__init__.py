"""Operation 2: the Shapley values of all sliding windows of an image. `dispatch` chooses; the others compute.

=============  ==========================================  =========  ================  ========  ====================
backend        how                                         device     dtype             gradient  pixels of a window
=============  ==========================================  =========  ================  ========  ====================
blank-pixels   only the active pixels (`blank_pixels`)     CPU        float32, float64  no        any
inductor       a program, after `compile()`                any        any               yes       up to 4
numba          loops, as machine code (`numba_cpu`)        CPU        float32, float64  yes       any
batched        two products for many windows at once       any        any               yes       any
reference      the definition; compiles, maps, second      any        any               yes       any
               derivatives
=============  ==========================================  =========  ================  ========  ====================

All but blank-pixels and reference are kernels of one operation of autograd (`op`), whose second derivatives are the
reference's. Cost per window, output and coalition: one addition and one activation, and a few operations for values.
"""
