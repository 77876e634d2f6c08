/* Add convolution, dense or grouped: forward, and gradient of the input. (Its weight gradient is a matrix product.) */
#ifndef SHIFTADDAUG_DENSE_H
#define SHIFTADDAUG_DENSE_H

#include "slab.h"

#define TERMS 512 /* summed in one go: longer float32 sums go through partial sums, which keeps their error small */

/* How the inputs of a filter lie in memory, seen from the first: rows x columns of runs. */
typedef struct {
    int64_t rows, row_step, columns, column_step, run;
} Patch;

/* Vectors of filters that the next tile computes at once, `left` to do. */
INLINE int64_t tile_vectors(int64_t left) {
    if (MAX_VECTORS == 3 && left % 3 && left > 1) return 2;
    return left < MAX_VECTORS ? left : MAX_VECTORS;
}

INLINE int64_t vectors_of(int64_t channels) { return (channels + LANES - 1) / LANES; }

/* ---- forward ------------------------------------------------------------------------------------------------- */

/* [group][block of filters][row][column][channel][filter of the block], zero beyond the last filter. */
static void pack_forward(const Problem *p, float *to) {
    int64_t filters = p->filters / p->groups, channels = p->channels / p->groups;
    for (int64_t group = 0; group < p->groups; group++) {
        int64_t vectors = vectors_of(filters), first = 0;
        while (vectors > 0) {
            int64_t now = tile_vectors(vectors), width = now * LANES;
            for (int64_t i = 0; i < p->kernel[0]; i++)
                for (int64_t j = 0; j < p->kernel[1]; j++)
                    for (int64_t c = 0; c < channels; c++, to += width) {
                        const float *from = p->w + c * p->w_stride[1] + i * p->w_stride[2] + j * p->w_stride[3];
                        for (int64_t f = 0; f < width; f++)
                            to[f] = first + f < filters ? from[(group * filters + first + f) * p->w_stride[0]] : 0.0f;
                    }
            vectors -= now, first += width;
        }
    }
}

INLINE void forward_tile(const float *const x[TILE], const Patch *patch, const float *w, const int vectors, float scale,
                         float *const y[TILE], int64_t positions, int64_t filters) {
    vec sum[TILE][MAX_VECTORS], total[TILE][MAX_VECTORS], one = v_set(1.0f);
    OPAQUE(one);
    UNROLL for (int t = 0; t < TILE; t++)
        UNROLL for (int v = 0; v < vectors; v++) sum[t][v] = v_set(0.0f);
    int64_t terms = 0, flushed = 0;
    for (int64_t i = 0; i < patch->rows; i++)
        for (int64_t j = 0; j < patch->columns; j++) {
            const int64_t offset = i * patch->row_step + j * patch->column_step;
            for (int64_t first = 0; first < patch->run; first += TERMS) {
                int64_t last = first + TERMS < patch->run ? first + TERMS : patch->run;
                for (int64_t c = offset + first; c < offset + last; c++, w += vectors * LANES) {
                    vec weight[MAX_VECTORS];
                    UNROLL for (int v = 0; v < vectors; v++) weight[v] = v_load(w + v * LANES);
                    UNROLL for (int t = 0; t < TILE; t++) {
                        vec input = v_set(x[t][c]);
                        UNROLL for (int v = 0; v < vectors; v++) {
                            /* subtracted on the multiply-add units, as the adders have the sums to do */
                            vec d = v_sub_fma(input, weight[v], one);
                            sum[t][v] = v_add(sum[t][v], v_abs(d));
                        }
                    }
                }
                terms += last - first;
                if (terms >= TERMS) {
                    UNROLL for (int t = 0; t < TILE; t++)
                        UNROLL for (int v = 0; v < vectors; v++) {
                            total[t][v] = flushed ? v_add(total[t][v], sum[t][v]) : sum[t][v];
                            sum[t][v] = v_set(0.0f);
                        }
                    terms = 0, flushed = 1;
                }
            }
        }
    const vec factor = v_set(-scale);
    UNROLL for (int t = 0; t < TILE; t++)
        if (t < positions)
            UNROLL for (int v = 0; v < vectors; v++) {
                vec all = flushed ? v_add(total[t][v], sum[t][v]) : sum[t][v];
                int64_t lanes = filters - v * LANES;
                if (lanes > 0) v_store_some(y[t] + v * LANES, v_mul(all, factor), lanes < LANES ? (int)lanes : LANES);
            }
}

/* Where a tile of positions reads and writes. */
typedef struct {
    int64_t row, column, columns;
} Position;

INLINE void next_position(Position *at) {
    if (++at->column == at->columns) at->column = 0, at->row++;
}

INLINE void forward_block(const Problem *p, const float *x, int64_t x_row, int64_t x_column, const Patch *patch,
                          const float *w, const int vectors, float *y, int64_t rows, int64_t filters) {
    Position at = {0, 0, p->out_size[1]};
    const float *from[TILE];
    float *to[TILE];
    for (int64_t left = rows * p->out_size[1]; left > 0; left -= TILE) {
        for (int t = 0; t < TILE; t++) {
            if (t >= left) {
                from[t] = from[0], to[t] = to[0];
                continue;
            }
            from[t] = x + at.row * p->stride[0] * x_row + at.column * p->stride[1] * x_column;
            to[t] = y + at.row * p->y_stride[1] + at.column * p->y_stride[2];
            next_position(&at);
        }
        forward_tile(from, patch, w, vectors, p->scale, to, left, filters);
    }
}

static int forward_unit(const Job *job, int64_t image, int64_t first_row, int64_t last_row) {
    const Problem *p = &job->p;
    Window window;
    input_range(p, 0, first_row, last_row, &window);
    input_range(p, 1, 0, p->out_size[1], &window);
    const float *x = p->x + image * p->x_stride[0];
    int64_t row = p->x_stride[1], column = p->x_stride[2];
    if (job->padded) {
        float *slab = shiftaddaug_scratch((size_t)slab_floats(&window, p->channels));
        if (!slab) return OUT_OF_MEMORY;
        pack_slab(x, row, column, p->size, &window, p->channels, slab);
        x = slab, row = slab_row(&window, p->channels), column = p->channels;
    } else {
        x += window.low[0] * row + window.low[1] * column;
    }
    int64_t channels = p->channels / p->groups, filters = p->filters / p->groups;
    Patch patch = {p->kernel[0], p->dilation[0] * row, p->kernel[1], p->dilation[1] * column, channels};
    if (p->dilation[1] == 1 && column == channels) patch.run *= patch.columns, patch.columns = 1;
    const float *w = job->packed;
    for (int64_t group = 0; group < p->groups; group++) {
        int64_t first = 0;
        for (int64_t vectors = vectors_of(filters); vectors > 0;) {
            int64_t now = tile_vectors(vectors);
            const float *inputs = x + group * channels;
            float *y = p->out + image * p->y_stride[0] + first_row * p->y_stride[1] + group * filters + first;
            int64_t rows = last_row - first_row, left = filters - first;
            if (now == 1) forward_block(p, inputs, row, column, &patch, w, 1, y, rows, left);
            else if (now == 2) forward_block(p, inputs, row, column, &patch, w, 2, y, rows, left);
            else forward_block(p, inputs, row, column, &patch, w, MAX_VECTORS, y, rows, left);
            w += now * LANES * channels * p->kernel[0] * p->kernel[1];
            vectors -= now, first += now * LANES;
        }
    }
    return DONE;
}

/* ---- gradient of the input ------------------------------------------------------------------------------------ */

/* [group][vector of channels][tap][filter][channel of the vector], zero beyond the last channel. */
static void pack_input_grad(const Problem *p, float *to) {
    int64_t filters = p->filters / p->groups, channels = p->channels / p->groups;
    for (int64_t group = 0; group < p->groups; group++)
        for (int64_t first = 0; first < channels; first += LANES)
            for (int64_t i = 0; i < p->kernel[0]; i++)
                for (int64_t j = 0; j < p->kernel[1]; j++)
                    for (int64_t f = group * filters; f < (group + 1) * filters; f++, to += LANES) {
                        const float *from = p->w + f * p->w_stride[0] + i * p->w_stride[2] + j * p->w_stride[3];
                        for (int64_t c = 0; c < LANES; c++)
                            to[c] = first + c < channels ? from[(first + c) * p->w_stride[1]] : 0.0f;
                    }
}

/* The taps that reach one phase of the inputs (rows and columns modulo the stride). */
typedef struct {
    int64_t *g, *w; /* offsets from the tile's gradients, and from the packed weights */
    int64_t count;
} Taps;

/* Sets `taps` to what inputs (row, column) read of the gradient, whose pixel `origin` lies at offset 0. */
static void phase_taps(const Problem *p, int64_t row, int64_t column, int64_t g_row, int64_t g_column,
                       const int64_t origin[2], int64_t filters, Taps *taps) {
    taps->count = 0;
    for (int64_t i = 0; i < p->kernel[0]; i++) {
        int64_t down = row + p->padding[0] - i * p->dilation[0];
        if (down - floor_div(down, p->stride[0]) * p->stride[0]) continue;
        for (int64_t j = 0; j < p->kernel[1]; j++) {
            int64_t across = column + p->padding[1] - j * p->dilation[1];
            if (across - floor_div(across, p->stride[1]) * p->stride[1]) continue;
            taps->g[taps->count] = (floor_div(down, p->stride[0]) - origin[0]) * g_row +
                                   (floor_div(across, p->stride[1]) - origin[1]) * g_column;
            taps->w[taps->count++] = (i * p->kernel[1] + j) * filters;
        }
    }
}

/* 1 if an input is nan. */
INLINE int input_grad_tile(const float *const x[TILE], const float *const g[TILE], const Taps *taps, const float *w,
                            int64_t filters, float scale, float *const dx[TILE], int64_t positions, int channels) {
    vec sum[TILE], input[TILE], one = v_set(1.0f);
    OPAQUE(one);
    UNROLL for (int t = 0; t < TILE; t++) sum[t] = v_set(0.0f), input[t] = v_load_some(x[t], channels);
    for (int64_t tap = 0; tap < taps->count; tap++) {
        const float *weights = w + taps->w[tap] * LANES;
        const int64_t offset = taps->g[tap];
        for (int64_t f = offset; f < offset + filters; f++, weights += LANES) {
            vec weight = v_load(weights);
            UNROLL for (int t = 0; t < TILE; t++) {
                vec d = LANES == 16 && t & 1 ? v_sub_fma(weight, input[t], one) : v_sub(weight, input[t]);
                sum[t] = v_fma(v_clip1(d, one), v_set(g[t][f]), sum[t]);
            }
        }
    }
    const vec factor = v_set(scale);
    int nan = 0;
    UNROLL for (int t = 0; t < TILE; t++) {
        nan |= v_has_nan(input[t]);
        if (t < positions) v_store_some(dx[t], v_mul(sum[t], factor), channels);
    }
    return nan;
}

static int input_grad_unit(const Job *job, int64_t image, int64_t first_row, int64_t last_row) {
    const Problem *p = &job->p;
    Window window;
    output_range(p, 0, first_row, last_row, &window);
    output_range(p, 1, 0, p->size[1], &window);
    const float *g = p->g + image * p->y_stride[0];
    int64_t row = p->y_stride[1], column = p->y_stride[2];
    int64_t taps_at_most = p->kernel[0] * p->kernel[1];
    size_t slab = job->padded ? (size_t)slab_floats(&window, p->filters) : 0;
    int64_t *offsets = (int64_t *)shiftaddaug_scratch(slab + 4 * (size_t)taps_at_most);
    if (!offsets) return OUT_OF_MEMORY;
    Taps taps = {offsets, offsets + taps_at_most, 0};
    int64_t origin[2] = {0, 0};
    if (job->padded) {
        float *copy = (float *)(offsets + 2 * taps_at_most);
        pack_slab(g, row, column, p->out_size, &window, p->filters, copy);
        g = copy, row = slab_row(&window, p->filters), column = p->filters;
        origin[0] = window.low[0], origin[1] = window.low[1];
    }
    int64_t channels = p->channels / p->groups, filters = p->filters / p->groups;
    const float *from_x[TILE], *from_g[TILE];
    float *to[TILE];
    int nan = 0;
    for (int64_t down = first_row; down < last_row && down < first_row + p->stride[0]; down++)
        for (int64_t across = 0; across < p->size[1] && across < p->stride[1]; across++) {
            /* the phase of inputs (down + s t, across + s u): input (t, u) of it reads g at (t, u) plus the taps' */
            phase_taps(p, down, across, row, column, origin, filters, &taps);
            int64_t rows = (last_row - down + p->stride[0] - 1) / p->stride[0];
            int64_t columns = (p->size[1] - across + p->stride[1] - 1) / p->stride[1];
            const float *w = job->packed;
            for (int64_t c = 0; c < p->channels; c += channels)
                for (int64_t v = 0; v < channels; v += LANES, w += taps_at_most * filters * LANES) {
                    const float *x = p->x + image * p->x_stride[0] + down * p->x_stride[1] + across * p->x_stride[2];
                    float *dx = p->out + image * p->out_stride[0] + down * p->out_stride[1] + across * p->out_stride[2];
                    int lanes = channels - v < LANES ? (int)(channels - v) : LANES;
                    Position at = {0, 0, columns};
                    for (int64_t left = rows * columns; left > 0; left -= TILE) {
                        for (int t = 0; t < TILE; t++) {
                            if (t >= left) {
                                from_x[t] = from_x[0], from_g[t] = from_g[0], to[t] = to[0];
                                continue;
                            }
                            int64_t y = at.row * p->stride[0], z = at.column * p->stride[1];
                            from_x[t] = x + y * p->x_stride[1] + z * p->x_stride[2] + c + v;
                            to[t] = dx + y * p->out_stride[1] + z * p->out_stride[2] + c + v;
                            from_g[t] = g + at.row * row + at.column * column + c / channels * filters;
                            next_position(&at);
                        }
                        nan |= input_grad_tile(from_x, from_g, &taps, w, filters, p->scale, to, left, lanes);
                    }
                }
        }
    return nan ? IRREGULAR : DONE;
}

#endif
