/* Random problems through the core's C interface, for every instruction set, against plain loops.
 *
 * Each tensor lies against a page that must not be touched, so that one float too many read or written ends the
 * program. All values are small multiples of 1/8: sums are exact in float32 in any order, and results must be equal.
 *
 * fuzz SEED PROBLEMS THREADS: prints the first wrong result and exits with 1.
 */
#define _GNU_SOURCE
#include "core.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

Job *shiftaddaug_begin(const Problem *problem, int isa);
void shiftaddaug_work(void *job);
int shiftaddaug_end(Job *job);
int shiftaddaug_has(int isa);

enum { ISAS = 3, MOST_THREADS = 16 };
static const double MOST_MACS = 3e5;

/* ---- chance --------------------------------------------------------------------------------------------------- */

static uint64_t state;

static uint64_t next_random(void) { /* splitmix64 */
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static int64_t between(int64_t low, int64_t high) { return low + (int64_t)(next_random() % (uint64_t)(high - low + 1)); }

static int one_in(int64_t n) { return between(1, n) == 1; }

/* ---- tensors between forbidden pages -------------------------------------------------------------------------- */

/* Four dimensions, the first outermost; strides count elements and need not be in order. */
typedef struct {
    int64_t shape[4], stride[4];
    float *at;
    char *pages;
    size_t bytes, page_bytes;
} Tensor;

static const float *element(const Tensor *t, int64_t a, int64_t b, int64_t c, int64_t d) {
    return t->at + a * t->stride[0] + b * t->stride[1] + c * t->stride[2] + d * t->stride[3];
}

static void allocate(Tensor *t) {
    int64_t last = 0, elements = 1;
    for (int i = 0; i < 4; i++) last += (t->shape[i] - 1) * t->stride[i], elements *= t->shape[i];
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    t->bytes = elements ? (size_t)(last + 1) * sizeof(float) : 0;
    t->page_bytes = (t->bytes + page - 1) / page * page + 2 * page;
    t->pages = mmap(NULL, t->page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (t->pages == MAP_FAILED) exit(2);
    if (mprotect(t->pages, page, PROT_NONE) || mprotect(t->pages + t->page_bytes - page, page, PROT_NONE)) exit(2);
    char *first = one_in(2) ? t->pages + page : t->pages + t->page_bytes - page - t->bytes;
    t->at = (float *)first;
    memset(first, 0xff, t->bytes); /* nan: nothing may be read but elements */
}

static void release(Tensor *t) {
    if (t->pages) munmap(t->pages, t->page_bytes);
}

/* Dimensions in a random order of memory, `innermost` adjacent, with gaps; an expanded one has stride 0. */
static void draw_strides(Tensor *t, int innermost, int may_expand) {
    int order[4] = {0, 1, 2, 3}, gaps = one_in(2);
    if (one_in(3))
        for (int i = 0; i < 3; i++) {
            int j = (int)between(i, 3), swapped = order[i];
            order[i] = order[j], order[j] = swapped;
        }
    int64_t stride = 1;
    if (innermost >= 0) t->stride[innermost] = 1, stride = t->shape[innermost] + (gaps ? between(0, 9) : 0);
    for (int i = 3; i >= 0; i--) {
        int dimension = order[i];
        if (dimension == innermost) continue;
        t->stride[dimension] = may_expand && one_in(12) ? 0 : stride;
        stride = stride * t->shape[dimension] + (gaps ? between(0, 5) : 0);
    }
}

static void draw_values(Tensor *t, int64_t eighths) {
    allocate(t);
    for (int64_t a = 0; a < t->shape[0]; a++)
        for (int64_t b = 0; b < t->shape[1]; b++)
            for (int64_t c = 0; c < t->shape[2]; c++)
                for (int64_t d = 0; d < t->shape[3]; d++)
                    *(float *)element(t, a, b, c, d) = (float)between(-eighths, eighths) / 8;
}

/* ---- problems -------------------------------------------------------------------------------------------------- */

static double macs(const Problem *p) {
    double outputs = (double)(p->images * p->out_size[0] * p->out_size[1] * p->filters);
    return outputs * (double)(p->channels / p->groups * p->kernel[0] * p->kernel[1]);
}

static void draw_size(Problem *p) {
    int64_t channels = one_in(4) ? between(1, 70) : between(1, 20), filters = one_in(4) ? between(1, 70) : between(1, 20);
    p->images = one_in(8) ? between(17, 40) : between(1, 3);
    p->groups = one_in(3) ? between(1, 5) : 1;
    p->channels = p->groups * channels, p->filters = p->groups * filters;
    if (one_in(2)) p->groups = p->filters = p->channels; /* depthwise */
    if (one_in(20)) p->groups = 1, p->channels = between(500, 1700);
    int is_long = one_in(8), is_point = one_in(4);
    for (int axis = 0; axis < 2; axis++) {
        p->size[axis] = is_long ? between(1, 90) : one_in(30) ? 0 : between(1, 9);
        p->kernel[axis] = is_point ? 1 : between(1, one_in(10) ? 7 : 4);
        p->stride[axis] = one_in(2) ? 1 : between(1, 4);
        p->dilation[axis] = one_in(2) ? 1 : between(1, 3);
        p->padding[axis] = one_in(2) ? 0 : between(0, one_in(5) ? 9 : 3);
    }
}

/* Fills p's sizes; 0 if they make no convolution, or too large a one. */
static int draw_problem(Problem *p) {
    memset(p, 0, sizeof *p);
    draw_size(p);
    for (int axis = 0; axis < 2; axis++) {
        int64_t room = p->size[axis] + 2 * p->padding[axis] - p->dilation[axis] * (p->kernel[axis] - 1) - 1;
        if (room < 0) return 0;
        p->out_size[axis] = room / p->stride[axis] + 1;
    }
    p->direction = (int32_t)between(FORWARD, INPUT_GRAD);
    p->arithmetic = ADD;
    if (is_depthwise(p)) {
        p->direction = (int32_t)between(FORWARD, WEIGHT_GRAD);
        p->arithmetic = one_in(2) ? ADD : MULT;
    }
    if (p->size[0] * p->size[1] == 0 && p->direction == INPUT_GRAD) return 0;
    p->scale = one_in(2) ? 1.0f : 0.25f;
    return macs(p) <= MOST_MACS;
}

typedef struct {
    Tensor x, w, y, out; /* y: gradient of the output; out: what is computed */
} Tensors;

static void set_strides(int64_t to[3], const Tensor *t) {
    to[0] = t->stride[0], to[1] = t->stride[1], to[2] = t->stride[2];
}

/* x, y and dx: images, rows, columns, channels. w: filters, channels, rows, columns. */
static void draw_tensors(Problem *p, Tensors *t) {
    memset(t, 0, sizeof *t);
    Tensor x = {.shape = {p->images, p->size[0], p->size[1], p->channels}};
    Tensor y = {.shape = {p->images, p->out_size[0], p->out_size[1], p->filters}};
    Tensor w = {.shape = {p->filters, p->channels / p->groups, p->kernel[0], p->kernel[1]}};
    Tensor out = p->direction == FORWARD ? y : p->direction == INPUT_GRAD ? x : w;
    draw_strides(&x, 3, 1), draw_strides(&y, 3, 1), draw_strides(&w, -1, 1), draw_strides(&out, 3, 0);
    if (p->direction == WEIGHT_GRAD)
        for (int64_t i = 3, stride = 1; i >= 0; stride *= out.shape[i--]) out.stride[i] = stride;
    draw_values(&w, 16);
    if (p->direction != INPUT_GRAD || p->arithmetic == ADD) draw_values(&x, 16);
    if (p->direction != FORWARD) draw_values(&y, 8);
    allocate(&out);
    t->x = x, t->w = w, t->y = y, t->out = out;
    p->x = x.at, p->w = w.at, p->g = y.at, p->out = out.at;
    set_strides(p->x_stride, &x), set_strides(p->y_stride, p->direction == FORWARD ? &out : &y);
    set_strides(p->out_stride, &out);
    memcpy(p->w_stride, w.stride, sizeof p->w_stride);
}

/* ---- plain loops ----------------------------------------------------------------------------------------------- */

static double clip1(double a) { return a > 1 ? 1 : a < -1 ? -1 : a; }

/* Adds to `sums`, shaped as the output, what filter f at one position of one image contributes. */
static void add_position(const Problem *p, const Tensors *t, int64_t n, int64_t f, int64_t row, int64_t column,
                         double *sums) {
    int64_t channels = p->channels / p->groups, first = f / (p->filters / p->groups) * channels;
    int64_t position = (n * p->out_size[0] + row) * p->out_size[1] + column;
    double g = p->direction == FORWARD ? 0 : *element(&t->y, n, row, column, f);
    for (int64_t c = 0; c < channels; c++)
        for (int64_t i = 0; i < p->kernel[0]; i++)
            for (int64_t j = 0; j < p->kernel[1]; j++) {
                int64_t y = row * p->stride[0] - p->padding[0] + i * p->dilation[0];
                int64_t z = column * p->stride[1] - p->padding[1] + j * p->dilation[1];
                int inside = y >= 0 && y < p->size[0] && z >= 0 && z < p->size[1];
                double x = inside && t->x.at ? *element(&t->x, n, y, z, first + c) : 0;
                double w = *element(&t->w, f, c, i, j);
                if (p->direction == FORWARD)
                    sums[position * p->filters + f] += p->arithmetic == ADD ? -fabs(x - w) : x * w;
                else if (p->direction == WEIGHT_GRAD)
                    sums[((f * channels + c) * p->kernel[0] + i) * p->kernel[1] + j] += g * (p->arithmetic == ADD ? x - w : x);
                else if (inside)
                    sums[((n * p->size[0] + y) * p->size[1] + z) * p->channels + first + c] +=
                        g * (p->arithmetic == ADD ? clip1(w - x) : w);
            }
}

static double *plain_loops(const Problem *p, const Tensors *t) {
    const int64_t *shape = t->out.shape;
    double *sums = calloc((size_t)(shape[0] * shape[1] * shape[2] * shape[3]), sizeof *sums);
    if (!sums) exit(2);
    for (int64_t n = 0; n < p->images; n++)
        for (int64_t f = 0; f < p->filters; f++)
            for (int64_t row = 0; row < p->out_size[0]; row++)
                for (int64_t column = 0; column < p->out_size[1]; column++) add_position(p, t, n, f, row, column, sums);
    return sums;
}

/* ---- one problem ----------------------------------------------------------------------------------------------- */

static void *work(void *job) {
    shiftaddaug_work(job);
    return NULL;
}

static int run(const Problem *p, int isa, int threads) {
    pthread_t helpers[MOST_THREADS];
    Job *job = shiftaddaug_begin(p, isa);
    if (!job) return 1;
    for (int i = 1; i < threads; i++)
        if (pthread_create(&helpers[i], NULL, work, job)) exit(2);
    shiftaddaug_work(job);
    for (int i = 1; i < threads; i++) pthread_join(helpers[i], NULL);
    return shiftaddaug_end(job);
}

/* Whether all elements of the output are right and the gaps between them untouched; leaves everything nan. */
static int is_right(const Problem *p, Tensor *out, const double *expected) {
    uint32_t untouched = 0xffffffffu;
    for (int64_t a = 0; a < out->shape[0]; a++)
        for (int64_t b = 0; b < out->shape[1]; b++)
            for (int64_t c = 0; c < out->shape[2]; c++)
                for (int64_t d = 0; d < out->shape[3]; d++, expected++) {
                    float *at = (float *)element(out, a, b, c, d);
                    if (!(*at == *expected * p->scale)) {
                        printf("element %ld %ld %ld %ld: %.9g, not %.9g\n", a, b, c, d, *at, *expected * p->scale);
                        return 0;
                    }
                    memcpy(at, &untouched, sizeof untouched);
                }
    for (size_t i = 0; i < out->bytes / sizeof untouched; i++)
        if (memcmp(out->at + i, &untouched, sizeof untouched)) return printf("wrote between elements\n"), 0;
    return 1;
}

static void describe(const Problem *p, int isa, int64_t number) {
    printf("problem %ld, instruction set %d: arithmetic %d, direction %d, %ld x %ld x %ld x %ld -> %ld x %ld x %ld, ",
           number, isa, p->arithmetic, p->direction, p->images, p->channels, p->size[0], p->size[1], p->filters,
           p->out_size[0], p->out_size[1]);
    printf("kernel %ld %ld, stride %ld %ld, padding %ld %ld, dilation %ld %ld, groups %ld\n", p->kernel[0], p->kernel[1],
           p->stride[0], p->stride[1], p->padding[0], p->padding[1], p->dilation[0], p->dilation[1], p->groups);
}

int main(int count, char **arguments) {
    if (count != 4) return 2;
    int64_t problems = atoll(arguments[2]), drawn = 0;
    int threads = atoi(arguments[3]);
    state = (uint64_t)atoll(arguments[1]);
    if (threads < 1 || threads > MOST_THREADS) return 2;
    while (drawn < problems) {
        Problem p;
        Tensors t;
        if (!draw_problem(&p)) continue;
        draw_tensors(&p, &t);
        double *expected = plain_loops(&p, &t);
        for (int isa = 0; isa < ISAS; isa++)
            if (shiftaddaug_has(isa) && (run(&p, isa, threads) || !is_right(&p, &t.out, expected)))
                return describe(&p, isa, drawn), 1;
        free(expected);
        release(&t.x), release(&t.w), release(&t.y), release(&t.out);
        drawn++;
    }
    printf("%ld problems right\n", drawn);
    return 0;
}
