/* The random stream of anydrop, version 1. Prints the first 32 elements of a mask:
   1 is kept, 0 is dropped. With the table anydrop/core/normals.bin, also prints the
   first 4 normal numbers.
   cc stream.c -o stream -lm && ./stream KEY0 KEY1 STEP P [TABLE] */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint32_t word(uint64_t index, uint64_t step, uint32_t k0, uint32_t k1) {
    uint64_t block = index / 4;
    uint32_t c[4] = {(uint32_t)block, block >> 32, (uint32_t)step, step >> 32};
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53 * c[0], p1 = (uint64_t)0xCD9E8D57 * c[2];
        uint32_t next[4] = {(p1 >> 32) ^ c[1] ^ k0, (uint32_t)p1,
                            (p0 >> 32) ^ c[3] ^ k1, (uint32_t)p0};
        for (int i = 0; i < 4; i++) c[i] = next[i];
        k0 += 0x9E3779B9;
        k1 += 0xBB67AE85;
    }
    return c[index % 4];
}

static uint32_t table[864][4];

static int read_table(const char *path) {
    unsigned char b[sizeof table];
    FILE *file = fopen(path, "rb");
    if (!file || fread(b, 1, sizeof b, file) != sizeof b) return 0;
    for (int i = 0; i < 4 * 864; i++) /* little-endian, on any machine */
        table[i / 4][i % 4] = b[4 * i] | b[4 * i + 1] << 8 | b[4 * i + 2] << 16
                              | (uint32_t)b[4 * i + 3] << 24;
    return 1;
}

static double normal(uint32_t w) {
    int upper = w >> 31, octave = 0;
    uint32_t count = upper ? ~w : w; /* from the nearer end of the range */
    while (count >> octave >= 64) octave++;
    const uint32_t *c = table[32 * octave + (count >> octave)];
    /* the place in the segment */
    uint64_t t = (uint32_t)((uint64_t)count << (32 - octave));
    int32_t m = c[0] - (t * (c[1] - (t * (c[2] - (t * c[3] >> 32)) >> 32)) >> 40);
    return (upper ? m : -m) * 0x1p-28;
}

int main(int argc, char **argv) {
    if (argc < 5)
        return fprintf(stderr, "usage: %s KEY0 KEY1 STEP P [TABLE]\n", argv[0]), 2;
    uint32_t k0 = strtoul(argv[1], 0, 10), k1 = strtoul(argv[2], 0, 10);
    uint64_t step = strtoull(argv[3], 0, 10);
    /* nearbyint rounds halves to even, like Python's round */
    double limit = nearbyint(strtod(argv[4], 0) * 4294967296.0);
    uint32_t threshold = limit > 4294967295.0 ? 4294967295u : (uint32_t)limit;
    for (uint64_t i = 0; i < 32; i++) putchar('0' + (word(i, step, k0, k1) >= threshold));
    putchar('\n');
    if (argc == 5) return 0;
    if (!read_table(argv[5])) return fprintf(stderr, "no table in %s\n", argv[5]), 1;
    for (uint64_t i = 0; i < 4; i++) printf("%.17g\n", normal(word(i, step, k0, k1)));
    return 0;
}
