// SPDX-License-Identifier: Apache-2.0
// What an op costs through a queue, beside the same work done by hand on liburing and libaio, with
// the same flags and batches, in one binary.  Run it as
//   tools/bazel run -c opt //tests/bench:per_op -- --benchmark_repetitions=7
//     --benchmark_enable_random_interleaving=true --benchmark_report_aggregates_only=true
// and compare medians of "ns_per_io": repetitions of all benchmarks are mixed, so that a noisy
// second hits both sides.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <libaio.h>
#include <liburing.h>
#include <ringfall/ringfall.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

constexpr size_t kBlock = 4096;
constexpr uint64_t kBlocks = 16384; // 64 MiB, which stays in the page cache
constexpr unsigned kMost = 4096;    // the largest batch

[[noreturn]] void Die(const char *what, int status) {
  fprintf(stderr, "%s: %s\n", what, strerror(status < 0 ? -status : status));
  exit(1);
}

// Offsets in an order that no read-ahead guesses; the same for all.
class Offsets {
public:
  uint64_t Next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return (state_ >> 33) % kBlocks * kBlock;
  }

private:
  uint64_t state_ = 1;
};

// A file that all benchmarks read, in the page cache.
int CachedFile() {
  static int fd = [] {
    const char *where = getenv("BENCH_DIR");
    std::string path = std::string(where != nullptr ? where : "/tmp") + "/ringfall-bench-XXXXXX";
    int made = mkostemp(path.data(), O_CLOEXEC);
    if (made < 0) Die(path.c_str(), errno);
    unlink(path.c_str());
    std::vector<char> block(1 << 20, 'x');
    for (uint64_t at = 0; at < kBlocks * kBlock; at += block.size())
      if (pwrite(made, block.data(), block.size(), static_cast<off_t>(at)) < 0)
        Die("pwrite", errno);
    if (fsync(made) != 0) Die("fsync", errno);
    return made;
  }();
  return fd;
}

// The buffers of all benchmarks but those of arenas: the same pages for each, since where pages lie
// in the caches makes a difference of several percent.
char *Buffers() {
  static char *memory = [] {
    void *at = mmap(nullptr, kMost * kBlock, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (at == MAP_FAILED) Die("mmap", errno);
    return static_cast<char *>(at);
  }();
  return memory;
}

void Report(benchmark::State &state, unsigned batch) {
  auto ios = static_cast<double>(state.iterations()) * batch;
  state.counters["ns_per_io"] =
      benchmark::Counter(ios / 1e9, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

// ---- by hand
// -------------------------------------------------------------------------------------

constexpr unsigned kRingFlags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL;

enum class Registered { kNothing, kFile, kFileAndMemory };

class RawRing {
public:
  RawRing(unsigned batch, Registered registered) : batch_(batch), registered_(registered) {
    io_uring_params params = {};
    params.flags = kRingFlags;
    int status = io_uring_queue_init_params(batch, &ring_, &params);
    if (status != 0) Die("io_uring_queue_init_params", status);
    status = io_uring_register_ring_fd(&ring_);
    if (status < 0) Die("io_uring_register_ring_fd", status);
    int fd = CachedFile();
    iovec all = {Buffers(), batch * kBlock};
    if ((registered != Registered::kNothing && io_uring_register_files(&ring_, &fd, 1) != 0) ||
        (registered == Registered::kFileAndMemory &&
         io_uring_register_buffers(&ring_, &all, 1) != 0))
      Die("io_uring_register", errno);
  }
  ~RawRing() { io_uring_queue_exit(&ring_); }

  void Nops() {
    for (unsigned i = 0; i < batch_; i++) {
      io_uring_sqe *sqe = io_uring_get_sqe(&ring_);
      io_uring_prep_nop(sqe);
      sqe->user_data = i;
    }
    Finish(0);
  }

  void Reads() {
    for (unsigned i = 0; i < batch_; i++) {
      io_uring_sqe *sqe = io_uring_get_sqe(&ring_);
      char *buffer = Buffers() + i * kBlock;
      int fd = registered_ == Registered::kNothing ? CachedFile() : 0;
      if (registered_ == Registered::kFileAndMemory)
        io_uring_prep_read_fixed(sqe, fd, buffer, kBlock, offsets_.Next(), 0);
      else
        io_uring_prep_read(sqe, fd, buffer, kBlock, offsets_.Next());
      if (registered_ != Registered::kNothing) sqe->flags |= IOSQE_FIXED_FILE;
      sqe->user_data = i;
    }
    Finish(kBlock);
  }

private:
  void Finish(int expected) {
    io_uring_submit_and_wait(&ring_, batch_);
    io_uring_cqe *cqe;
    unsigned head, n = 0;
    io_uring_for_each_cqe (&ring_, head, cqe) {
      if (cqe->res != expected) Die("a completion", cqe->res);
      seen_ += cqe->user_data;
      n++;
    }
    io_uring_cq_advance(&ring_, n);
    if (n != batch_) Die("completions", EIO);
    benchmark::DoNotOptimize(seen_);
  }

  unsigned batch_;
  Registered registered_;
  io_uring ring_;
  Offsets offsets_;
  uint64_t seen_ = 0;
};

void RawUringNop(benchmark::State &state) {
  auto batch = static_cast<unsigned>(state.range(0));
  RawRing ring(batch, Registered::kNothing);
  for (auto _ : state) ring.Nops();
  Report(state, batch);
}

void RawUringRead(benchmark::State &state, Registered registered) {
  auto batch = static_cast<unsigned>(state.range(0));
  RawRing ring(batch, registered);
  for (auto _ : state) ring.Reads();
  Report(state, batch);
}

// `per_submit`: control blocks per io_submit.
void RawLibaioRead(benchmark::State &state, bool batched) {
  auto batch = static_cast<unsigned>(state.range(0));
  io_context_t context = nullptr;
  int status = io_setup(static_cast<int>(batch), &context);
  if (status != 0) Die("io_setup", status);
  std::vector<iocb> blocks(batch);
  std::vector<iocb *> list(batch);
  std::vector<io_event> events(batch);
  Offsets offsets;
  for (auto _ : state) {
    for (unsigned i = 0; i < batch; i++) {
      io_prep_pread(&blocks[i], CachedFile(), Buffers() + i * kBlock, kBlock,
                    static_cast<long long>(offsets.Next()));
      list[i] = &blocks[i];
      if (!batched && io_submit(context, 1, &list[i]) != 1) Die("io_submit", errno);
    }
    if (batched && io_submit(context, static_cast<long>(batch), list.data()) != (int)batch)
      Die("io_submit", errno);
    int got = io_getevents(context, batch, batch, events.data(), nullptr);
    if (got != static_cast<int>(batch)) Die("io_getevents", got);
    for (unsigned i = 0; i < batch; i++)
      if (events[i].res != kBlock) Die("an event", static_cast<int>(events[i].res));
  }
  io_destroy(context);
  Report(state, batch);
}

// ---- through a queue
// -----------------------------------------------------------------------------

struct Setup {
  rf_choice choice = RF_CHOICE_REQUIRE;
  rf_backend_id backend = RF_BACKEND_IO_URING;
  bool arena = false;
  bool latency = false;
};

class Queue {
public:
  Queue(unsigned batch, const Setup &setup) : batch_(batch) {
    rf_engine_options options;
    rf_engine_options_init(&options);
    options.choice = setup.choice;
    options.backend = setup.backend;
    options.ignore_environment = true;
    Check("rf_engine_open", rf_engine_open(&engine_, &options));
    Check("rf_file_from_fd", rf_file_from_fd(engine_, CachedFile(), false, &file_));
    if (setup.arena) {
      Check("rf_arena_open", rf_arena_open(engine_, batch * kBlock, 0, &arena_));
      memory_ = static_cast<char *>(rf_arena_base(arena_));
    } else {
      memory_ = Buffers();
    }
    rf_queue_options queue_options;
    rf_queue_options_init(&queue_options);
    queue_options.depth = batch;
    queue_options.batch = batch;
    queue_options.latency = setup.latency;
    Check("rf_queue_open", rf_queue_open(engine_, &queue_options, &queue_));
    ops_.resize(batch);
    completions_.resize(batch);
  }
  ~Queue() {
    rf_queue_close(queue_);
    rf_arena_close(arena_);
    rf_file_close(file_);
    rf_engine_close(engine_);
  }

  void Nops() {
    for (unsigned i = 0; i < batch_; i++) ops_[i] = rf_op_nop(i);
    Run(0);
  }

  void Reads() {
    for (unsigned i = 0; i < batch_; i++)
      ops_[i] = rf_op_read(file_, memory_ + i * kBlock, kBlock, offsets_.Next(), i);
    Run(kBlock);
  }

private:
  static void Check(const char *what, int status) {
    if (status != 0) Die(what, status);
  }

  void Run(int64_t expected) {
    unsigned accepted = 0;
    int n = rf_submit_and_wait(queue_, ops_.data(), batch_, &accepted, completions_.data(), batch_,
                               batch_, RF_FOREVER);
    if (n != static_cast<int>(batch_) || accepted != batch_) Die("rf_submit_and_wait", EIO);
    for (unsigned i = 0; i < batch_; i++) {
      if (completions_[i].status != 0 || completions_[i].bytes != expected)
        Die("a completion", completions_[i].status);
      seen_ += completions_[i].user_data;
    }
    benchmark::DoNotOptimize(seen_);
  }

  unsigned batch_;
  rf_engine *engine_ = nullptr;
  rf_file *file_ = nullptr;
  rf_arena *arena_ = nullptr;
  rf_queue *queue_ = nullptr;
  char *memory_ = nullptr;
  std::vector<rf_op> ops_;
  std::vector<rf_completion> completions_;
  Offsets offsets_;
  uint64_t seen_ = 0;
};

void QueueNop(benchmark::State &state, Setup setup) {
  auto batch = static_cast<unsigned>(state.range(0));
  Queue queue(batch, setup);
  for (auto _ : state) queue.Nops();
  Report(state, batch);
}

void QueueRead(benchmark::State &state, Setup setup) {
  auto batch = static_cast<unsigned>(state.range(0));
  Queue queue(batch, setup);
  for (auto _ : state) queue.Reads();
  Report(state, batch);
}

// ---- opening
// -------------------------------------------------------------------------------------

void EngineOpen(benchmark::State &state) {
  for (auto _ : state) {
    rf_engine *engine = nullptr;
    if (rf_engine_open(&engine, nullptr) != 0) Die("rf_engine_open", EIO);
    state.PauseTiming();
    rf_engine_close(engine);
    state.ResumeTiming();
  }
}

void ProbeHost(benchmark::State &state) {
  rf_host host;
  for (auto _ : state)
    if (rf_probe_host(nullptr, &host) != 0) Die("rf_probe_host", EIO);
}

void QueueOpen(benchmark::State &state, rf_backend_id backend) {
  rf_engine_options options;
  rf_engine_options_init(&options);
  options.choice = RF_CHOICE_REQUIRE;
  options.backend = backend;
  rf_engine *engine = nullptr;
  if (rf_engine_open(&engine, &options) != 0) Die("rf_engine_open", EIO);
  for (auto _ : state) {
    rf_queue *queue = nullptr;
    if (rf_queue_open(engine, nullptr, &queue) != 0) Die("rf_queue_open", EIO);
    state.PauseTiming();
    rf_queue_close(queue);
    state.ResumeTiming();
  }
  rf_engine_close(engine);
}

void Pread(benchmark::State &state) {
  std::vector<char> buffer(kBlock);
  Offsets offsets;
  for (auto _ : state)
    if (pread(CachedFile(), buffer.data(), kBlock, static_cast<off_t>(offsets.Next())) != kBlock)
      Die("pread", errno);
  Report(state, 1);
}

constexpr Setup kUring{};
constexpr Setup kUringArena{RF_CHOICE_REQUIRE, RF_BACKEND_IO_URING, true, false};
constexpr Setup kUringLatency{RF_CHOICE_REQUIRE, RF_BACKEND_IO_URING, false, true};
constexpr Setup kLibaio{RF_CHOICE_REQUIRE, RF_BACKEND_LIBAIO, false, false};

BENCHMARK(RawUringNop)->Arg(32)->Arg(1)->Arg(kMost)->UseRealTime();
BENCHMARK_CAPTURE(QueueNop, uring, kUring)->Arg(32)->Arg(1)->Arg(kMost)->UseRealTime();
BENCHMARK_CAPTURE(QueueNop, uring_latency, kUringLatency)->Arg(32)->UseRealTime();
BENCHMARK_CAPTURE(RawUringRead, plain, Registered::kNothing)->Arg(32)->Arg(1)->UseRealTime();
BENCHMARK_CAPTURE(RawUringRead, file, Registered::kFile)->Arg(32)->Arg(1)->UseRealTime();
BENCHMARK_CAPTURE(QueueRead, uring, kUring)->Arg(32)->Arg(1)->UseRealTime();
BENCHMARK_CAPTURE(RawUringRead, file_and_memory, Registered::kFileAndMemory)
    ->Arg(32)
    ->Arg(1)
    ->UseRealTime();
BENCHMARK_CAPTURE(QueueRead, uring_arena, kUringArena)->Arg(32)->Arg(1)->UseRealTime();
BENCHMARK_CAPTURE(RawLibaioRead, batched, true)->Arg(32)->Arg(1)->UseRealTime();
BENCHMARK_CAPTURE(QueueRead, libaio, kLibaio)->Arg(32)->Arg(1)->UseRealTime();
BENCHMARK_CAPTURE(RawLibaioRead, one_by_one, false)->Arg(32)->UseRealTime();
BENCHMARK(Pread)->UseRealTime();
BENCHMARK(EngineOpen)->UseRealTime();
BENCHMARK(ProbeHost)->UseRealTime();
BENCHMARK_CAPTURE(QueueOpen, uring, RF_BACKEND_IO_URING)->UseRealTime();
BENCHMARK_CAPTURE(QueueOpen, libaio, RF_BACKEND_LIBAIO)
    ->Iterations(20)
    ->UseRealTime(); // slow to close
BENCHMARK_CAPTURE(QueueOpen, threads, RF_BACKEND_THREADS)->UseRealTime();

} // namespace

BENCHMARK_MAIN();
