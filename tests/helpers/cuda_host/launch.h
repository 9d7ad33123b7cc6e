// Runs blocks `first` to `last` of a launch, thread by thread.

template <class Arguments>
void run_blocks(void (*kernel)(Arguments), const void* args, unsigned blocks, unsigned threads, unsigned first,
                unsigned last, Watch* seen) {
    watch = seen;
    gridDim.x = blocks;
    blockDim.x = threads;
    for (blockIdx.x = first; blockIdx.x < last; ++blockIdx.x)
        for (threadIdx.x = 0; threadIdx.x < threads; ++threadIdx.x) kernel(*static_cast<const Arguments*>(args));
}

extern "C" void launch(void (*kernel)(Args), const void* args, unsigned blocks, unsigned threads,
                       unsigned first, unsigned last, Watch* seen) {
    run_blocks(kernel, args, blocks, threads, first, last, seen);
}
extern "C" void launch_more(void (*kernel)(MoreArgs), const void* args, unsigned blocks, unsigned threads,
                           unsigned first, unsigned last, Watch* seen) {
    run_blocks(kernel, args, blocks, threads, first, last, seen);
}

extern "C" const unsigned long long size_of_args, size_of_more_args;
const unsigned long long size_of_args = sizeof(Args), size_of_more_args = sizeof(MoreArgs);
