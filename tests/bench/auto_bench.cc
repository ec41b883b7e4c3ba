// SPDX-License-Identifier: Apache-2.0
// Does AUTO ever take the wrong path?  Runs each workload through AUTO and through each backend
// forced, in alternation, and prints medians of IOPS, AUTO against the best of them, and AUTO
// against io_uring.
//   tools/bazel run -c opt //tests/bench:auto --
//       [--never-block] [--rounds N] [--ms T] [--only TEXT] [DISK_DIR]
// --only: the workloads with TEXT in their names.
#include <fcntl.h>
#include <ringfall/ringfall.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

struct Workload {
  const char *name;
  bool tmpfs, direct, cold, write;
  uint64_t block;
};

constexpr Workload kWorkloads[] = {
    {"tmpfs 512 B read", true, false, false, false, 512},
    {"tmpfs 512 B write", true, false, false, true, 512},
    {"tmpfs 4 KiB read", true, false, false, false, 4096},
    {"tmpfs 4 KiB write", true, false, false, true, 4096},
    {"disk 4 KiB buffered read, cached", false, false, false, false, 4096},
    {"disk 4 KiB buffered read, cold", false, false, true, false, 4096},
    {"disk 4 KiB buffered write", false, false, false, true, 4096},
    {"disk 4 KiB direct read", false, true, false, false, 4096},
    {"disk 4 KiB direct write", false, true, false, true, 4096},
};

struct Variant {
  const char *name;
  rf_choice choice;
  rf_backend_id backend;
};
constexpr Variant kVariants[] = {
    {"auto", RF_CHOICE_AUTO, RF_BACKEND_IO_URING},
    {"io_uring", RF_CHOICE_REQUIRE, RF_BACKEND_IO_URING},
    {"libaio", RF_CHOICE_REQUIRE, RF_BACKEND_LIBAIO},
    {"threads", RF_CHOICE_REQUIRE, RF_BACKEND_THREADS},
};
constexpr size_t kVariantCount = sizeof(kVariants) / sizeof(kVariants[0]);

constexpr uint64_t kBytes = 256 << 20;
rf_policy policy = RF_POLICY_MAY_BLOCK;
int rounds = 5;
const char *only = "";
int milliseconds = 300;
std::string disk = "/tmp";

void Check(const char *what, int status) {
  if (status >= 0) return;
  fprintf(stderr, "%s: %s\n", what, strerror(-status));
  exit(1);
}

std::string MakeFile(const std::string &directory) {
  std::string path = directory + "/ringfall-auto-XXXXXX";
  int fd = mkstemp(path.data());
  Check(path.c_str(), fd < 0 ? -errno : 0);
  std::vector<char> piece(1 << 20, 'x');
  for (uint64_t at = 0; at < kBytes; at += piece.size())
    Check("pwrite",
          pwrite(fd, piece.data(), piece.size(), static_cast<off_t>(at)) < 0 ? -errno : 0);
  Check("fsync", fsync(fd) == 0 ? 0 : -errno);
  close(fd);
  return path;
}

// Each block once, in a random order; again from the start when all are used up.
class Order {
public:
  explicit Order(uint64_t block) : block_(block), at_(kBytes / block) {
    for (uint64_t i = 0; i < at_.size(); i++) at_[i] = static_cast<uint32_t>(i);
    uint64_t state = 1;
    for (size_t i = at_.size() - 1; i > 0; i--) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      std::swap(at_[i], at_[(state >> 33) % (i + 1)]);
    }
  }
  uint64_t Next() { return at_[next_++ % at_.size()] * block_; }

private:
  uint64_t block_;
  std::vector<uint32_t> at_;
  size_t next_ = 0;
};

double Run(const Workload &work, const Variant &variant, unsigned depth, const std::string &path) {
  rf_engine_options options;
  rf_engine_options_init(&options);
  options.choice = variant.choice;
  options.backend = variant.backend;
  options.ignore_environment = true;
  rf_engine *engine;
  Check("rf_engine_open", rf_engine_open(&engine, &options));
  rf_file *file;
  Check(path.c_str(),
        rf_file_open(engine, path.c_str(), O_RDWR | (work.direct ? O_DIRECT : 0), 0, &file));
  if (work.cold) posix_fadvise(rf_file_fd(file), 0, 0, POSIX_FADV_DONTNEED);
  rf_arena *arena;
  Check("rf_arena_open", rf_arena_open(engine, depth * 4096, 0, &arena));
  auto *memory = static_cast<char *>(rf_arena_base(arena));
  rf_queue_options queue_options;
  rf_queue_options_init(&queue_options);
  queue_options.depth = depth;
  queue_options.policy = policy;
  rf_queue *queue;
  Check("rf_queue_open", rf_queue_open(engine, &queue_options, &queue));

  Order order(work.block);
  std::vector<rf_completion> done(depth);
  std::vector<rf_op> ops(depth);
  auto fill = [&](unsigned n) {
    for (unsigned i = 0; i < n; i++) {
      uint64_t slot = i == 0 && depth == 1 ? 0 : ops[i].user_data;
      char *buffer = memory + slot * 4096;
      ops[i] = work.write ? rf_op_write(file, buffer, work.block, order.Next(), slot)
                          : rf_op_read(file, buffer, work.block, order.Next(), slot);
    }
  };
  for (unsigned i = 0; i < depth; i++) ops[i].user_data = i;
  auto start = std::chrono::steady_clock::now();
  double elapsed = 0;
  uint64_t count = 0;
  unsigned next = depth;
  const unsigned min = depth > 4 ? depth / 2 : 1;
  while (elapsed < milliseconds / 1e3) {
    fill(next);
    int n =
        rf_submit_and_wait(queue, ops.data(), next, nullptr, done.data(), min, depth, RF_FOREVER);
    Check("rf_submit_and_wait", n);
    for (int i = 0; i < n; i++) {
      Check("an op", done[i].status);
      ops[i].user_data = done[i].user_data;
    }
    next = static_cast<unsigned>(n);
    count += next;
    if (count % 64 < next)
      elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  rf_queue_close(queue);
  rf_arena_close(arena);
  if (work.write && !work.tmpfs) fsync(rf_file_fd(file));
  rf_file_close(file);
  rf_engine_close(engine);
  return static_cast<double>(count) / elapsed;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void Compare(const Workload &work, unsigned depth, const std::string &path) {
  std::vector<double> iops[kVariantCount];
  for (int round = 0; round < rounds; round++)
    for (size_t i = 0; i < kVariantCount; i++)
      iops[i].push_back(Run(work, kVariants[i], depth, path));
  double best = 0;
  printf("%-34s %5u", work.name, depth);
  for (size_t i = 0; i < kVariantCount; i++) {
    printf(" %9.0f", Median(iops[i]));
    if (i > 0) best = std::max(best, Median(iops[i]));
  }
  printf("   %5.2f   %5.2f\n", Median(iops[0]) / best, Median(iops[0]) / Median(iops[1]));
  fflush(stdout);
}

} // namespace

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--never-block") == 0)
      policy = RF_POLICY_NEVER_BLOCK;
    else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc)
      rounds = atoi(argv[++i]);
    else if (strcmp(argv[i], "--ms") == 0 && i + 1 < argc)
      milliseconds = atoi(argv[++i]);
    else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
      only = argv[++i];
    else
      disk = argv[i];
  }
  if (rounds < 1 || milliseconds < 1) return fprintf(stderr, "--rounds and --ms: 1 or more\n"), 2;
  const std::string in_memory = MakeFile("/dev/shm"), on_disk = MakeFile(disk);
  printf("%-34s %5s %9s %9s %9s %9s   %5s   %5s\n", "IOPS, medians", "depth", "auto", "io_uring",
         "libaio", "threads", "/best", "/ring");
  for (const Workload &work : kWorkloads)
    for (unsigned depth : {1u, 32u})
      if (strstr(work.name, only) != nullptr)
        Compare(work, depth, work.tmpfs ? in_memory : on_disk);
  unlink(in_memory.c_str());
  unlink(on_disk.c_str());
}
