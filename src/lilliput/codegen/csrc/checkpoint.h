/* What training has changed, kept in a flash of two slots so that a power cut at any byte of a
 * save leaves the last one.
 *
 *   slot     header, padding to `start`, the tensors one behind the other, as in RAM
 *   header   8 words, little-endian: magic, format + start << 16, identity (2), sequence,
 *            bytes of the tensors, their CRC-32, CRC-32 of the seven words before
 *
 * A save goes to the slot that does not hold the newest good checkpoint, and its header is
 * written last: until its last byte is there the slot is none.  Everything that is read is
 * checked, so it does not matter what a cut leaves behind.  Sequence numbers wrap: of two, the
 * newer is less than half of them ahead.
 *
 * Included with LL_CHECKPOINT(name), what the program's types begin with, and LL_STATUS(NAME),
 * its status codes. */
#ifndef LL_CHECKPOINT_H
#define LL_CHECKPOINT_H

#include "ll.h"

#define LL_CHECKPOINT_MAGIC 0x4B434C4CU /* "LLCK" */
#define LL_CHECKPOINT_FORMAT 1U
#define LL_CHECKPOINT_BLOCK 256U /* the most bytes that a flash writes at once */
#define LL_CHECKPOINT_WORDS 8U

typedef LL_CHECKPOINT(flash) ll_flash;
typedef LL_CHECKPOINT(status) ll_status;

typedef struct {
    uint8_t *data;
    uint32_t bytes;
} ll_saved;

/* What is saved: `bytes` are those of all tensors together. */
typedef struct {
    uint32_t identity[2];
    uint32_t bytes;
    uint32_t count;
    const ll_saved *saved;
} ll_checkpoint;

/* `status` is OK where the slot holds a whole checkpoint of this program. */
typedef struct {
    ll_status status;
    uint32_t start, sequence, crc;
} ll_slot_found;

/* CRC-32 of IEEE 802.3, reflected; `crc` is 0 or that of the bytes before. */
LL_NOINLINE uint32_t ll_crc32(uint32_t crc, const uint8_t *data, uint32_t bytes) {
    static const uint32_t table[16] = {0x00000000U, 0x1DB71064U, 0x3B6E20C8U, 0x26D930ACU,
                                       0x76DC4190U, 0x6B6B51F4U, 0x4DB26158U, 0x5005713CU,
                                       0xEDB88320U, 0xF00F9344U, 0xD6D6A3E8U, 0xCB61B38CU,
                                       0x9B64C2B0U, 0x86D3D2D4U, 0xA00AE278U, 0xBDBDF21CU};
    crc = ~crc;
    for (uint32_t i = 0; i < bytes; ++i) {
        crc = table[(crc ^ data[i]) & 15U] ^ (crc >> 4);
        crc = table[(crc ^ (uint32_t)(data[i] >> 4)) & 15U] ^ (crc >> 4);
    }
    return ~crc;
}

LL_INLINE uint32_t ll_padded(uint32_t bytes, uint32_t unit) {
    return (bytes + unit - 1U) / unit * unit;
}

/* Where the tensors begin in a slot that this flash writes. */
LL_INLINE uint32_t ll_checkpoint_start(const ll_flash *flash) {
    return ll_padded(4U * LL_CHECKPOINT_WORDS, flash->write_size);
}

LL_INLINE int ll_flash_is_sound(const ll_flash *flash, const ll_checkpoint *what) {
    if (flash == 0 || flash->read == 0 || flash->erase == 0 || flash->write == 0) {
        return 0;
    }
    const uint32_t unit = flash->write_size, room = flash->slot_bytes;
    if (unit == 0U || unit > LL_CHECKPOINT_BLOCK || (unit & (unit - 1U)) != 0U) {
        return 0;
    }
    if (room % unit != 0U || room > UINT32_MAX / 2U || what->bytes > room) {
        return 0;
    }
    return ll_checkpoint_start(flash) + ll_padded(what->bytes, unit) <= room;
}

/* The CRC of `bytes` in flash; whether they could be read. */
LL_NOINLINE int ll_flash_crc(const ll_flash *flash, uint32_t offset, uint32_t bytes,
                             uint32_t *crc) {
    uint8_t block[LL_CHECKPOINT_BLOCK];
    *crc = 0U;
    for (uint32_t at = 0; at < bytes; at += LL_CHECKPOINT_BLOCK) {
        const uint32_t left = bytes - at;
        const uint32_t n = left < LL_CHECKPOINT_BLOCK ? left : LL_CHECKPOINT_BLOCK;
        if (flash->read(flash->ctx, offset + at, block, n) != 0) {
            return 0;
        }
        *crc = ll_crc32(*crc, block, n);
    }
    return 1;
}

LL_INLINE int ll_is_blank(const uint32_t *header) {
    for (uint32_t i = 0; i < LL_CHECKPOINT_WORDS; ++i) {
        if (header[i] != header[0]) {
            return 0;
        }
    }
    return header[0] == UINT32_MAX || header[0] == 0U;
}

/* What a header alone says of a slot; `header` has been read. */
LL_INLINE ll_status ll_header_status(const uint32_t *header, uint32_t room,
                                     const ll_checkpoint *what) {
    const uint32_t sum = ll_crc32(0U, (const uint8_t *)header, 4U * (LL_CHECKPOINT_WORDS - 1U));
    if (ll_is_blank(header)) {
        return LL_STATUS(NO_CHECKPOINT);
    }
    if (header[0] != LL_CHECKPOINT_MAGIC || header[7] != sum) {
        return LL_STATUS(CORRUPT);
    }
    if ((header[1] & 0xFFFFU) != LL_CHECKPOINT_FORMAT || header[2] != what->identity[0] ||
        header[3] != what->identity[1]) {
        return LL_STATUS(FOREIGN);
    }
    const uint32_t start = header[1] >> 16;
    const int fits = start <= room && what->bytes <= room - start;
    return header[5] == what->bytes && fits ? LL_STATUS(OK) : LL_STATUS(CORRUPT);
}

LL_NOINLINE ll_slot_found ll_inspect(const ll_flash *flash, const ll_checkpoint *what,
                                     uint32_t slot) {
    uint32_t header[LL_CHECKPOINT_WORDS], crc = 0U;
    const uint32_t base = slot * flash->slot_bytes;
    ll_slot_found found = {LL_STATUS(FLASH_FAILED), 0U, 0U, 0U};
    if (flash->read(flash->ctx, base, header, sizeof header) != 0) {
        return found;
    }
    found.status = ll_header_status(header, flash->slot_bytes, what);
    if (found.status == LL_STATUS(OK)) {
        found.start = header[1] >> 16;
        found.sequence = header[4];
        found.crc = header[6];
        if (ll_flash_crc(flash, base + found.start, what->bytes, &crc) == 0) {
            found.status = LL_STATUS(FLASH_FAILED);
        } else if (crc != found.crc) {
            found.status = LL_STATUS(CORRUPT);
        }
    }
    return found;
}

/* The slot of the newest whole checkpoint, 2 where there is none. */
LL_INLINE uint32_t ll_newest(const ll_slot_found found[2]) {
    const int first = found[0].status == LL_STATUS(OK), second = found[1].status == LL_STATUS(OK);
    if (first != 0 && second != 0) {
        return found[1].sequence - found[0].sequence - 1U < UINT32_MAX / 2U ? 1U : 0U;
    }
    return first != 0 ? 0U : (second != 0 ? 1U : 2U);
}

/* Reads a slot into RAM; whether it is what was inspected. */
LL_INLINE int ll_restore(const ll_flash *flash, const ll_checkpoint *what, uint32_t slot,
                         const ll_slot_found *found) {
    uint32_t at = slot * flash->slot_bytes + found->start, crc = 0U;
    for (uint32_t i = 0; i < what->count; ++i) {
        const ll_saved *part = &what->saved[i];
        if (flash->read(flash->ctx, at, part->data, part->bytes) != 0) {
            return 0;
        }
        crc = ll_crc32(crc, part->data, part->bytes);
        at += part->bytes;
    }
    return crc == found->crc;
}

/* `touched` : whether RAM holds neither what it held nor a checkpoint. */
LL_INLINE ll_status ll_load(const ll_flash *flash, const ll_checkpoint *what, int *touched) {
    *touched = 0;
    if (ll_flash_is_sound(flash, what) == 0) {
        return LL_STATUS(INVALID);
    }
    ll_slot_found found[2] = {ll_inspect(flash, what, 0U), ll_inspect(flash, what, 1U)};
    for (uint32_t slot = ll_newest(found); slot < 2U; slot = ll_newest(found)) {
        if (ll_restore(flash, what, slot, &found[slot]) != 0) {
            *touched = 0;
            return LL_STATUS(OK);
        }
        *touched = 1;
        found[slot].status = LL_STATUS(FLASH_FAILED);
    }
    /* the codes of what may be wrong with a slot: the lower, the more it tells */
    return found[0].status < found[1].status ? found[0].status : found[1].status;
}

/* The tensors, in blocks that the flash can write: what is left at the end is filled with ones. */
LL_NOINLINE int ll_write_tensors(const ll_flash *flash, const ll_checkpoint *what, uint32_t at) {
    uint8_t block[LL_CHECKPOINT_BLOCK];
    uint32_t filled = 0U;
    for (uint32_t i = 0; i < what->count; ++i) {
        for (uint32_t k = 0; k < what->saved[i].bytes; ++k) {
            block[filled++] = what->saved[i].data[k];
            if (filled == LL_CHECKPOINT_BLOCK) {
                if (flash->write(flash->ctx, at, block, filled) != 0) {
                    return 0;
                }
                at += filled;
                filled = 0U;
            }
        }
    }
    const uint32_t last = ll_padded(filled, flash->write_size);
    __builtin_memset(block + filled, 0xFF, last - filled);
    return last == 0U || flash->write(flash->ctx, at, block, last) == 0;
}

LL_NOINLINE int ll_write_header(const ll_flash *flash, const ll_checkpoint *what, uint32_t base,
                                uint32_t sequence) {
    const uint32_t start = ll_checkpoint_start(flash);
    uint8_t block[LL_CHECKPOINT_BLOCK];
    uint32_t crc = 0U;
    for (uint32_t i = 0; i < what->count; ++i) {
        crc = ll_crc32(crc, what->saved[i].data, what->saved[i].bytes);
    }
    uint32_t header[LL_CHECKPOINT_WORDS] = {LL_CHECKPOINT_MAGIC,
                                            LL_CHECKPOINT_FORMAT | start << 16,
                                            what->identity[0],
                                            what->identity[1],
                                            sequence,
                                            what->bytes,
                                            crc,
                                            0U};
    header[7] = ll_crc32(0U, (const uint8_t *)header, 4U * (LL_CHECKPOINT_WORDS - 1U));
    __builtin_memset(block, 0xFF, start);
    __builtin_memcpy(block, header, sizeof header);
    return flash->write(flash->ctx, base, block, start) == 0;
}

LL_INLINE ll_status ll_save(const ll_flash *flash, const ll_checkpoint *what) {
    if (ll_flash_is_sound(flash, what) == 0) {
        return LL_STATUS(INVALID);
    }
    const ll_slot_found found[2] = {ll_inspect(flash, what, 0U), ll_inspect(flash, what, 1U)};
    const uint32_t newest = ll_newest(found);
    const int foreign = found[0].status == LL_STATUS(FOREIGN);
    const uint32_t other = foreign && found[1].status != LL_STATUS(FOREIGN) ? 1U : 0U;
    const uint32_t slot = newest < 2U ? 1U - newest : other;
    const uint32_t sequence = newest < 2U ? found[newest].sequence + 1U : 1U;
    const uint32_t base = slot * flash->slot_bytes;
    if (flash->erase(flash->ctx, base, flash->slot_bytes) != 0 ||
        ll_write_tensors(flash, what, base + ll_checkpoint_start(flash)) == 0 ||
        ll_write_header(flash, what, base, sequence) == 0) {
        return LL_STATUS(FLASH_FAILED);
    }
    const ll_slot_found now = ll_inspect(flash, what, slot);
    const int kept = now.status == LL_STATUS(OK) && now.sequence == sequence;
    return kept ? LL_STATUS(OK) : LL_STATUS(FLASH_FAILED);
}

#endif
