// SPDX-License-Identifier: Apache-2.0
/*
 * One row of the table in docs/kernels.md: what this kernel has, and what was selected.
 *
 * Everything comes from the probe's verdicts, and from opening a queue with the option in question.
 */
#include <linux/io_uring.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ringfall/ringfall.h>

/* io_uring_params.features as the kernel gives it; 0 without io_uring. */
static unsigned ring_features(void) {
  struct io_uring_params params;
  memset(&params, 0, sizeof(params));
  long fd = syscall(SYS_io_uring_setup, 8, &params);
  if (fd < 0) return 0;
  close((int)fd);
  return params.features;
}

static void print_backend(const struct rf_verdict *verdict) {
  printf("| %s ", verdict->usable ? verdict->features : "no");
  if (verdict->error != 0) printf("(%s) ", verdict->why);
}

int main(int count, char **arguments) {
  struct rf_probe_options options = {.directory = count > 1 ? arguments[1] : NULL};
  struct rf_directory directory;
  struct rf_host host;
  if (rf_probe_host(&options, &host) != 0) return 1;
  printf("| %s | %s | 0x%x ", host.limits.kernel, rf_backend_name(host.selected), ring_features());
  print_backend(&host.verdicts[RF_BACKEND_IO_URING]);
  print_backend(&host.verdicts[RF_BACKEND_LIBAIO]);
  if (options.directory == NULL || rf_probe_directory(options.directory, &directory) != 0) return 1;
  printf("| %s |\n", rf_alignment_source_name(directory.file.alignment_source));
  return 0;
}
