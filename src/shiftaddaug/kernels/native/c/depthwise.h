/* Depthwise convolutions, add and multiplicative: one filter per channel, vectors along the channels. */
#ifndef SHIFTADDAUG_DEPTHWISE_H
#define SHIFTADDAUG_DEPTHWISE_H

#include "slab.h"

#define DEPTHWISE_TILE 8
#define SUMS 10           /* taps whose weight gradients are summed at once */

/* [tap][channel], zero beyond the last channel */
static void pack_depthwise(const Problem *p, float *to) {
    int64_t padded = vectors_of(p->channels) * LANES;
    for (int64_t i = 0; i < p->kernel[0]; i++)
        for (int64_t j = 0; j < p->kernel[1]; j++, to += padded)
            for (int64_t c = 0; c < padded; c++)
                to[c] = c < p->channels ? p->w[c * p->w_stride[0] + i * p->w_stride[2] + j * p->w_stride[3]] : 0.0f;
}

/* Input of a block of channels: in place, or as a zero-padded copy. */
typedef struct {
    const float *at; /* pixel (0, 0) of the window */
    int64_t row, column;
} View;

/* A block's channels are copied whole vectors at a time where that stays inside the image's channels. */
static int view_block(const Job *job, const float *image, const int64_t strides[3], const int64_t size[2],
                      const Window *window, int64_t channels, float *slab, View *view) {
    int partial = channels % LANES != 0; /* a vector would read past the last channel */
    if (!job->padded && !partial) {
        view->at = image + window->low[0] * strides[1] + window->low[1] * strides[2];
        view->row = strides[1], view->column = strides[2];
        return 1;
    }
    int64_t lanes = (channels + LANES - 1) / LANES * LANES;
    if (partial) { /* pixel by pixel: the slab's pixels are wider than the image's */
        int64_t n = 0;
        for (int64_t r = window->low[0]; r < window->high[0]; r++)
            for (int64_t c = window->low[1]; c < window->high[1]; c++, n += lanes) {
                memset(slab + n, 0, sizeof(float) * (size_t)lanes);
                if (r >= 0 && r < size[0] && c >= 0 && c < size[1])
                    memcpy(slab + n, image + r * strides[1] + c * strides[2], sizeof(float) * (size_t)channels);
            }
    } else {
        pack_slab(image, strides[1], strides[2], size, window, channels, slab);
    }
    view->at = slab, view->row = slab_row(window, lanes), view->column = lanes;
    return 1;
}

/* n positions of one vector of channels, a pixel's distance apart in x (`step`), y and g. */
INLINE void depthwise_forward_tile(const int n, const float *x, int64_t step, const int64_t *taps, int64_t count,
                                   const float *w, int64_t w_step, int arithmetic, float scale, float *y,
                                   int64_t y_step, int lanes) {
    vec sum[DEPTHWISE_TILE], one = v_set(1.0f);
    OPAQUE(one);
    UNROLL for (int t = 0; t < n; t++) {
        sum[t] = v_set(0.0f);
        __builtin_prefetch(y + (n + t) * y_step, 1);
    }
    for (int64_t tap = 0; tap < count; tap++, w += w_step) {
        vec weight = v_load(w);
        const float *from = x + taps[tap];
        UNROLL for (int t = 0; t < n; t++) {
            vec input = v_load(from + t * step);
            if (arithmetic == MULT) sum[t] = v_fma(input, weight, sum[t]);
            else sum[t] = v_add(sum[t], v_abs(t & 1 ? v_sub_fma(input, weight, one) : v_sub(input, weight)));
        }
    }
    const vec factor = v_set(arithmetic == MULT ? scale : -scale);
    UNROLL for (int t = 0; t < n; t++) v_store_some(y + t * y_step, v_mul(sum[t], factor), lanes);
}

/* 1 if an input that is subtracted is nan. */
INLINE int depthwise_input_grad_tile(const int n, const float *x, int64_t x_step, const float *g, int64_t g_step,
                                      const int64_t *taps, const int64_t *w_taps, int64_t count, const float *w,
                                      int64_t w_step, int arithmetic, float scale, float *dx, int64_t dx_step, int lanes) {
    vec sum[DEPTHWISE_TILE], one = v_set(1.0f);
    OPAQUE(one);
    UNROLL for (int t = 0; t < n; t++) {
        sum[t] = v_set(0.0f);
        __builtin_prefetch(x + (n + t) * x_step);
        __builtin_prefetch(dx + (n + t) * dx_step, 1);
    }
    for (int64_t tap = 0; tap < count; tap++) {
        vec weight = v_load(w + w_taps[tap] * w_step);
        const float *from = g + taps[tap];
        UNROLL for (int t = 0; t < n; t++) {
            vec slope = arithmetic == MULT ? weight : v_clip1(v_sub(weight, v_load(x + t * x_step)), one);
            sum[t] = v_fma(slope, v_load(from + t * g_step), sum[t]);
        }
    }
    const vec factor = v_set(scale);
    int nan = 0;
    UNROLL for (int t = 0; t < n; t++) {
        if (arithmetic == ADD) nan |= v_has_nan(v_load(x + t * x_step));
        v_store_some(dx + t * dx_step, v_mul(sum[t], factor), lanes);
    }
    return nan;
}

/* CALL(n) computes n positions from `at`; runs it until all `total` are done. */
#define TILED(total, at, CALL)                                           \
    do {                                                                 \
        int64_t at = 0;                                                  \
        for (; at + 8 <= (total); at += 8) CALL(8);                      \
        if (at + 4 <= (total)) { CALL(4); at += 4; }                     \
        if (at + 2 <= (total)) { CALL(2); at += 2; }                     \
        if (at < (total)) CALL(1);                                       \
    } while (0)

INLINE int some_lanes(int64_t left) { return left < LANES ? (int)left : LANES; }

INLINE int64_t block_width(const Job *job, int64_t first) {
    return job->p.channels - first < job->block ? job->p.channels - first : job->block;
}

INLINE int depthwise_forward_unit(const Job *job, int64_t image, int64_t first, const int arithmetic) {
    const Problem *p = &job->p;
    Window window;
    input_range(p, 0, 0, p->out_size[0], &window);
    input_range(p, 1, 0, p->out_size[1], &window);
    int64_t count = p->kernel[0] * p->kernel[1], width = block_width(job, first);
    int64_t *taps = (int64_t *)shiftaddaug_scratch(2 * (size_t)count + (size_t)slab_floats(&window, job->block));
    if (!taps) return OUT_OF_MEMORY;
    View x;
    view_block(job, p->x + image * p->x_stride[0] + first, p->x_stride, p->size, &window, width,
               (float *)(taps + count), &x);
    for (int64_t i = 0; i < count; i++)
        taps[i] = i / p->kernel[1] * p->dilation[0] * x.row + i % p->kernel[1] * p->dilation[1] * x.column;
    const float *w = job->packed + first;
    int64_t w_step = vectors_of(p->channels) * LANES;
    int64_t step = p->stride[1] * x.column;
    /* vectors innermost: a tile then reads a few streams of adjacent memory, which the processor fetches ahead */
    for (int64_t row = 0; row < p->out_size[0]; row++) {
        const float *from = x.at + row * p->stride[0] * x.row;
        float *to = p->out + image * p->y_stride[0] + row * p->y_stride[1] + first;
#define FORWARD_TILE(n)                                                                                        \
    for (int64_t v = 0; v < width; v += LANES)                                                                 \
    depthwise_forward_tile(n, from + at * step + v, step, taps, count, w + v, w_step, arithmetic, p->scale,    \
                           to + at * p->y_stride[2] + v, p->y_stride[2], some_lanes(width - v))
        TILED(p->out_size[1], at, FORWARD_TILE);
    }
    return DONE;
}

INLINE int depthwise_input_grad_unit(const Job *job, int64_t image, int64_t first, const int arithmetic) {
    const Problem *p = &job->p;
    Window window, all = {{0, 0}, {p->size[0], p->size[1]}};
    output_range(p, 0, 0, p->size[0], &window);
    output_range(p, 1, 0, p->size[1], &window);
    int64_t count = p->kernel[0] * p->kernel[1], width = block_width(job, first);
    size_t g_floats = (size_t)slab_floats(&window, job->block);
    int64_t *offsets =
        (int64_t *)shiftaddaug_scratch(4 * (size_t)count + g_floats + (size_t)slab_floats(&all, job->block));
    if (!offsets) return OUT_OF_MEMORY;
    Taps taps = {offsets, offsets + count, 0};
    float *slab = (float *)(offsets + 2 * count);
    View g, x = {0, 0, 0};
    view_block(job, p->g + image * p->y_stride[0] + first, p->y_stride, p->out_size, &window, width, slab, &g);
    if (arithmetic == ADD) {
        Job unpadded = {.padded = 0};
        view_block(&unpadded, p->x + image * p->x_stride[0] + first, p->x_stride, p->size, &all, width,
                   slab + g_floats, &x);
    }
    const int64_t origin[2] = {window.low[0], window.low[1]};
    const float *w = job->packed + first;
    int64_t w_step = vectors_of(p->channels) * LANES;
    int nan = 0;
    for (int64_t down = 0; down < p->size[0] && down < p->stride[0]; down++)
        for (int64_t across = 0; across < p->size[1] && across < p->stride[1]; across++) {
            phase_taps(p, down, across, g.row, g.column, origin, 1, &taps);
            int64_t columns = (p->size[1] - across + p->stride[1] - 1) / p->stride[1];
            int64_t x_step = p->stride[1] * x.column, dx_step = p->stride[1] * p->out_stride[2];
            for (int64_t row = 0; down + row * p->stride[0] < p->size[0]; row++) {
                int64_t y = down + row * p->stride[0];
                const float *from_x = arithmetic == ADD ? x.at + y * x.row + across * x.column : g.at;
                const float *from_g = g.at + row * g.row;
                float *to = p->out + image * p->out_stride[0] + y * p->out_stride[1] + across * p->out_stride[2] + first;
#define GRAD_TILE(n)                                                                                           \
    for (int64_t v = 0; v < width; v += LANES)                                                                 \
    nan |= depthwise_input_grad_tile(n, from_x + at * x_step + v, x_step, from_g + at * g.column + v, g.column,       \
                              taps.g, taps.w, taps.count, w + v, w_step, arithmetic, p->scale,                 \
                              to + at * dx_step + v, dx_step, some_lanes(width - v))
                TILED(columns, at, GRAD_TILE);
            }
        }
    return nan ? IRREGULAR : DONE;
}

/* ---- gradient of the weights: sum of g x, and for add of g, over the images of a unit -------------------------- */

/* Adds to n sums of products, one for each tap, those of one image. */
INLINE void depthwise_products(const int n, const Problem *p, const View *x, const View *g, const int64_t *taps,
                               float *sums, int64_t step) {
    vec sum[SUMS];
    UNROLL for (int t = 0; t < n; t++) sum[t] = v_set(0.0f);
    for (int64_t row = 0, terms = 0; row < p->out_size[0]; row++) {
        const float *inputs = x->at + row * p->stride[0] * x->row, *gradients = g->at + row * g->row;
        for (int64_t column = 0; column < p->out_size[1]; column++) {
            vec gradient = v_load(gradients);
            UNROLL for (int t = 0; t < n; t++) sum[t] = v_fma(v_load(inputs + taps[t]), gradient, sum[t]);
            inputs += p->stride[1] * x->column, gradients += g->column;
        }
        terms += p->out_size[1];
        if (terms >= TERMS || row + 1 == p->out_size[0]) {
            UNROLL for (int t = 0; t < n; t++) {
                v_store(sums + t * step, v_add(v_load(sums + t * step), sum[t]));
                sum[t] = v_set(0.0f);
            }
            terms = 0;
        }
    }
}

static void sum_gradients(const Problem *p, const View *g, float *sums) {
    vec sum = v_set(0.0f), total = v_load(sums);
    for (int64_t row = 0, terms = 0; row < p->out_size[0]; row++) {
        for (int64_t column = 0; column < p->out_size[1]; column++)
            sum = v_add(sum, v_load(g->at + row * g->row + column * g->column));
        terms += p->out_size[1];
        if (terms >= TERMS) total = v_add(total, sum), sum = v_set(0.0f), terms = 0;
    }
    v_store(sums, v_add(total, sum));
}

/* partial: [chunk of images][tap, then sum of g][channel], zero at first */
static int depthwise_weight_grad_unit(const Job *job, int64_t chunk, int64_t block) {
    const Problem *p = &job->p;
    Window window, all = {{0, 0}, {p->out_size[0], p->out_size[1]}};
    input_range(p, 0, 0, p->out_size[0], &window);
    input_range(p, 1, 0, p->out_size[1], &window);
    int64_t count = p->kernel[0] * p->kernel[1], first = block * job->block, width = block_width(job, first);
    size_t x_floats = (size_t)slab_floats(&window, job->block);
    int64_t *taps = (int64_t *)shiftaddaug_scratch(2 * (size_t)count + x_floats + (size_t)slab_floats(&all, job->block));
    if (!taps) return OUT_OF_MEMORY;
    float *slab = (float *)(taps + count);
    int64_t step = vectors_of(p->channels) * LANES;
    float *partial = job->partial + chunk * (count + 1) * step + first;
    int64_t last = (chunk + 1) * job->images_per_unit < p->images ? (chunk + 1) * job->images_per_unit : p->images;
    for (int64_t image = chunk * job->images_per_unit; image < last; image++) {
        View x, g;
        Job unpadded = {.padded = 0};
        view_block(job, p->x + image * p->x_stride[0] + first, p->x_stride, p->size, &window, width, slab, &x);
        view_block(&unpadded, p->g + image * p->y_stride[0] + first, p->y_stride, p->out_size, &all, width,
                   slab + x_floats, &g);
        for (int64_t i = 0; i < count; i++)
            taps[i] = i / p->kernel[1] * p->dilation[0] * x.row + i % p->kernel[1] * p->dilation[1] * x.column;
        for (int64_t v = 0; v < width; v += LANES) {
            View xv = {x.at + v, x.row, x.column}, gv = {g.at + v, g.row, g.column};
            int64_t done = 0;
#define PRODUCTS(n) depthwise_products(n, p, &xv, &gv, taps + done, partial + done * step + v, step), done += n
            while (count - done > SUMS) PRODUCTS(8);
            switch (count - done) {
                case 1: PRODUCTS(1); break;
                case 2: PRODUCTS(2); break;
                case 3: PRODUCTS(3); break;
                case 4: PRODUCTS(4); break;
                case 5: PRODUCTS(5); break;
                case 6: PRODUCTS(6); break;
                case 7: PRODUCTS(7); break;
                case 8: PRODUCTS(8); break;
                case 9: PRODUCTS(9); break;
                default: PRODUCTS(10);
            }
            if (p->arithmetic == ADD) sum_gradients(p, &gv, partial + count * step + v);
        }
    }
    return DONE;
}

/* dw = sum of g x, less w times the sum of g for add; partial sums are added in the order of the images. */
static void depthwise_weight_grad_end(const Job *job) {
    const Problem *p = &job->p;
    int64_t count = p->kernel[0] * p->kernel[1];
    int64_t step = vectors_of(p->channels) * LANES, chunk_step = (count + 1) * step;
    for (int64_t c = 0; c < p->channels; c++) {
        const float *partial = job->partial + c;
        double gradient = 0.0;
        for (int64_t chunk = 0; chunk < job->row_units; chunk++) gradient += partial[chunk * chunk_step + count * step];
        for (int64_t i = 0; i < count; i++) {
            double sum = 0.0;
            for (int64_t chunk = 0; chunk < job->row_units; chunk++) sum += partial[chunk * chunk_step + i * step];
            int64_t at = c * p->w_stride[0] + i / p->kernel[1] * p->w_stride[2] + i % p->kernel[1] * p->w_stride[3];
            if (p->arithmetic == ADD) sum -= gradient * p->w[at];
            p->out[c * count + i] = (float)(sum * p->scale);
        }
    }
}

#endif
