// SPDX-License-Identifier: Apache-2.0
/* Files for trying things out: nobody else sees them, and they vanish with their descriptor. */
#ifndef RINGFALL_PROBE_SCRATCH_H
#define RINGFALL_PROBE_SCRATCH_H

#include <stddef.h>
#include <stdint.h>

/* How much is written and read back.  One page of most machines, and a multiple of all sectors. */
#define RF_SCRATCH_BYTES 4096u

/* A file in a directory, open for reading and writing.  The descriptor or -errno; then *call is the
 * system call that was refused, a static string. */
int rf_scratch_in_directory(const char *path, const char **call);

/* A file in memory; should that be refused, in one of the places for temporary files. */
int rf_scratch_in_memory(void);

/* Bytes that neither zeroed blocks nor an earlier round (other seeds) can be mistaken for. */
void rf_scratch_pattern(unsigned char *bytes, size_t count, uint32_t seed);

/* How much may be written at once without the SIGXFSZ of RLIMIT_FSIZE: RF_SCRATCH_BYTES or less. */
size_t rf_scratch_room(void);

#endif
