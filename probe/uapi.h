// SPDX-License-Identifier: Apache-2.0
/*
 * What the probe needs from the kernel that headers in use do not have.
 *
 * struct statx of glibc 2.36 has no direct I/O fields, and <linux/stat.h> cannot be included next
 * to <sys/stat.h>, so the layout is written down here: it is kernel ABI and never changes.
 */
#ifndef RINGFALL_PROBE_UAPI_H
#define RINGFALL_PROBE_UAPI_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define RF_STATX_DIOALIGN 0x2000u /* Linux 6.1 */

/* struct statx of linux/stat.h, of which only the marked fields are read. */
struct rf_statx {
  uint32_t mask; /* which fields were filled in */
  uint32_t before[37];
  uint32_t dio_mem_align;    /* 0: this file has no direct I/O */
  uint32_t dio_offset_align; /* 0: likewise */
  uint32_t after[24];
};
static_assert(sizeof(struct rf_statx) == 256, "as in linux/stat.h");
static_assert(offsetof(struct rf_statx, dio_mem_align) == 0x98, "as in linux/stat.h");

#define RF_RWF_NOAPPEND 0x20 /* Linux 6.9: pwritev2 uses its offset in spite of O_APPEND */

#define RF_MFD_NOEXEC_SEAL 0x8u /* Linux 6.3 */

#endif
