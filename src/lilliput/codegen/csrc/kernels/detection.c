/* Boxes of a single-shot detector: decoded, suppressed, the best of them.
 *
 * in[0]  encoded boxes (N, 4): y, x, height, width        in[1]  scores (N, C)
 * in[2]  anchors (N, 4)
 * out[0] boxes (M, 4): top, left, bottom, right           out[1] classes (M)
 * out[2] scores (M)                                       out[3] how many there are
 *
 * Scratch: N decoded boxes, N scores, N places, N marks, then a score and a place for each of
 * the detections and of those of one class.
 */
#ifndef LL_DETECTION_PARAMS
#define LL_DETECTION_PARAMS
typedef struct {
    int32_t count, width, first, classes, most, each, per_class, rows;
    float threshold, overlap, y_scale, x_scale, h_scale, w_scale;
} ll_detection_params;

/* Whether a comes before b: the higher score, then the lower place. */
LL_INLINE int32_t ll_detection_before(const float *score, int32_t a, int32_t b) {
    return score[a] > score[b] || (score[a] == score[b] && a < b);
}

LL_INLINE void ll_detection_sink(const float *score, int32_t *heap, int32_t root, int32_t count) {
    for (int32_t child = 2 * root + 1; child < count; child = 2 * root + 1) {
        if (child + 1 < count && ll_detection_before(score, heap[child], heap[child + 1])) {
            ++child;
        }
        if (!ll_detection_before(score, heap[root], heap[child])) {
            return;
        }
        const int32_t held = heap[root];
        heap[root] = heap[child];
        heap[child] = held;
        root = child;
    }
}

LL_INLINE void ll_detection_sort(const float *score, int32_t *order, int32_t count) {
    for (int32_t root = count / 2 - 1; root >= 0; --root) {
        ll_detection_sink(score, order, root, count);
    }
    for (int32_t end = count - 1; end > 0; --end) {
        const int32_t last = order[0];
        order[0] = order[end];
        order[end] = last;
        ll_detection_sink(score, order, 0, end);
    }
}

/* The part that two boxes share of what they cover together; 0 for an empty one. */
LL_INLINE float ll_detection_overlap(const float *a, const float *b) {
    const float area_a = (a[2] - a[0]) * (a[3] - a[1]);
    const float area_b = (b[2] - b[0]) * (b[3] - b[1]);
    if (!(area_a > 0.0f) || !(area_b > 0.0f)) {
        return 0.0f;
    }
    const float high = ll_min_f32(a[2], b[2]) - ll_max_f32(a[0], b[0]);
    const float wide = ll_min_f32(a[3], b[3]) - ll_max_f32(a[1], b[1]);
    const float both = ll_max_f32(high, 0.0f) * ll_max_f32(wide, 0.0f);
    return both / (area_a + area_b - both);
}

/* Leaves the places of the boxes that are kept, best first, in `order`; returns how many. */
LL_INLINE int32_t ll_detection_select(const ll_detection_params *p, const float *score,
                                      const float *boxes, int32_t *order, uint8_t *dead,
                                      int32_t limit) {
    int32_t found = 0, kept = 0;
    for (int32_t i = 0; i < p->count; ++i) {
        if (score[i] >= p->threshold) {
            order[found] = i;
            dead[found] = 0;
            ++found;
        }
    }
    ll_detection_sort(score, order, found);
    for (int32_t i = 0; i < found && kept < limit; ++i) {
        if (dead[i]) {
            continue;
        }
        const int32_t box = order[i];
        for (int32_t j = i + 1; j < found; ++j) {
            if (ll_detection_overlap(boxes + 4 * box, boxes + 4 * order[j]) > p->overlap) {
                dead[j] = 1;
            }
        }
        order[kept] = box;
        ++kept;
    }
    return kept;
}

LL_INLINE void ll_detection_put(const ll_out *out, int32_t at, const float *box, int32_t class,
                                float score) {
    float *to = LL_ELEMENT(float, (uint8_t *)out[0].base, at, 0, &out[0]);
    for (int32_t k = 0; k < 4; ++k) {
        to[k] = box[k];
    }
    ((float *)out[1].base)[at] = (float)class;
    ((float *)out[2].base)[at] = score;
}

LL_INLINE void ll_detection_decode(const ll_detection_params *p, const float *codes,
                                   const float *anchors, float *boxes) {
    for (int32_t i = 0; i < p->count; ++i) {
        const float *code = codes + 4 * i;
        const float *anchor = anchors + 4 * i;
        const float y = code[0] / p->y_scale * anchor[2] + anchor[0];
        const float x = code[1] / p->x_scale * anchor[3] + anchor[1];
        const float h = 0.5f * ll_expf(code[2] / p->h_scale) * anchor[2];
        const float w = 0.5f * ll_expf(code[3] / p->w_scale) * anchor[3];
        boxes[4 * i] = y - h;
        boxes[4 * i + 1] = x - w;
        boxes[4 * i + 2] = y + h;
        boxes[4 * i + 3] = x + w;
    }
}

/* One suppression over the best class of each box; each box then shows its best classes. */
LL_INLINE int32_t ll_detection_fast(const ll_detection_params *p, const float *scores,
                                    const float *boxes, float *best, int32_t *order, uint8_t *dead,
                                    const ll_out *out) {
    int32_t shown = 0;
    for (int32_t i = 0; i < p->count; ++i) {
        const float *mine = scores + i * p->width + p->first;
        best[i] = mine[0];
        for (int32_t c = 1; c < p->classes; ++c) {
            best[i] = mine[c] > best[i] ? mine[c] : best[i];
        }
    }
    const int32_t kept = ll_detection_select(p, best, boxes, order, dead, p->most);
    for (int32_t k = 0; k < kept; ++k) {
        const float *mine = scores + order[k] * p->width + p->first;
        int32_t last = -1;
        for (int32_t n = 0; n < p->each; ++n) {
            int32_t next = -1;
            for (int32_t c = 0; c < p->classes; ++c) {
                const int32_t later = last < 0 || ll_detection_before(mine, last, c);
                if (c != last && later && (next < 0 || ll_detection_before(mine, c, next))) {
                    next = c;
                }
            }
            ll_detection_put(out, shown, boxes + 4 * order[k], next, mine[next]);
            last = next;
            ++shown;
        }
    }
    return kept;
}

/* One suppression a class; the best of all classes are kept as they come. */
LL_INLINE int32_t ll_detection_regular(const ll_detection_params *p, const float *scores,
                                       const float *boxes, float *mine, int32_t *order,
                                       uint8_t *dead, float *held, int32_t *place,
                                       const ll_out *out) {
    int32_t total = 0;
    for (int32_t c = 0; c < p->classes; ++c) {
        for (int32_t i = 0; i < p->count; ++i) {
            mine[i] = scores[i * p->width + p->first + c];
        }
        const int32_t kept = ll_detection_select(p, mine, boxes, order, dead, p->per_class);
        for (int32_t k = 0; k < kept; ++k) {
            /* behind all that are at least as good; what falls off the end is lost */
            int32_t at = total < p->most ? total : p->most;
            while (at > 0 && held[at - 1] < mine[order[k]]) {
                --at;
            }
            for (int32_t j = ll_min(total, p->most - 1); j > at; --j) {
                held[j] = held[j - 1];
                place[j] = place[j - 1];
            }
            if (at < p->most) {
                held[at] = mine[order[k]];
                place[at] = order[k] * p->classes + c;
                total = ll_min(total + 1, p->most);
            }
        }
    }
    for (int32_t k = 0; k < total; ++k) {
        const int32_t box = place[k] / p->classes;
        ll_detection_put(out, k, boxes + 4 * box, place[k] % p->classes, held[k]);
    }
    return total;
}
#endif

LL_INLINE void LL_NAME(detection)(const ll_detection_params *p, const ll_in *in, const ll_out *out,
                                  const ll_region *r, void *scratch, const ll_in *operands,
                                  int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    const float nothing[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    const float *scores = (const float *)in[1].base;
    float *boxes = (float *)scratch;
    float *best = boxes + 4 * p->count;
    float *held = best + p->count;
    int32_t *place = (int32_t *)(void *)(held + p->most);
    int32_t *order = place + p->most;
    uint8_t *dead = (uint8_t *)(void *)(order + p->count);
    (void)r;
    (void)operands;
    (void)count;
    (void)store;
    ll_detection_decode(p, (const float *)in[0].base, (const float *)in[2].base, boxes);
    for (int32_t k = 0; k < p->rows; ++k) {
        ll_detection_put(out, k, nothing, 0, 0.0f);
    }
    *(float *)out[3].base =
        (float)(p->per_class > 0
                    ? ll_detection_regular(p, scores, boxes, best, order, dead, held, place, out)
                    : ll_detection_fast(p, scores, boxes, best, order, dead, out));
}
