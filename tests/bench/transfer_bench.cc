// SPDX-License-Identifier: Apache-2.0
// Transfers beside fio, which has to be in PATH.
//   tools/bazel run -c opt //tests/bench:transfer -- --dir=/var/tmp [--backend=io_uring]
//     [--only=read,new-file] [--rounds=5] [--loops=4] [--workers=N] [--block=BYTES] [--depth=N]
//     [--memory=ordinary|adopted|arena]
// Runs fio (1 MiB, sequential, O_DIRECT, depth 8) and each scenario in alternation, and prints the
// medians of throughput and CPU time, and the ratio of the throughputs.  fio has the engine that
// corresponds to the backend.  CPU is that of the process, without fio's start.
// The scenarios read-loop and overwrite-loop have another peer: a loop on liburing, written out,
// over the same buffer as ours.  fio uses the same 8 MiB again and again.
// The buffer of 1 GiB is, with --memory=ordinary, what mmap gives, in ordinary pages; the same,
// given to rf_arena_adopt(); or an arena of rf_arena_open().
#include <fcntl.h>
#include <liburing.h>
#include <ringfall/ringfall.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace {

constexpr size_t kGiB = size_t{1} << 30;
constexpr size_t kMemory = kGiB + 8192;
constexpr size_t kSmall = size_t{256} << 10;
constexpr unsigned kSmallFiles = 1024;

std::string g_dir = "/var/tmp", g_only;
rf_backend_id g_backend = RF_BACKEND_IO_URING;
bool g_auto = false;
enum { kOrdinary, kAdopted, kArena } g_memory = kOrdinary;
unsigned g_rounds = 3, g_loops = 4;
rf_pool_options g_pool_options;

[[noreturn]] void Die(const std::string &what, int status) {
  fprintf(stderr, "%s: %s\n", what.c_str(), strerror(status < 0 ? -status : status));
  exit(1);
}

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double CpuSeconds() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  auto seconds = [](const timeval &time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

struct Figures {
  double gb_per_s = 0, cpu_per_gb = 0, blocked = 0; // blocked: share of the time, in submit
};

// ---- files -------------------------------------------------------------------------------------

std::string BigPath() {
  return g_dir + "/ringfall_bench_big";
}
std::string NewPath() {
  return g_dir + "/ringfall_bench_new";
}
std::string SmallPath(unsigned i) {
  return g_dir + "/ringfall_bench_small_" + std::to_string(i);
}

void Fill(const std::string &path, size_t size) {
  std::vector<char> block(1 << 20, 'x');
  int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) Die(path, errno);
  for (size_t at = 0; at < size; at += block.size())
    if (pwrite(fd, block.data(), std::min(block.size(), size - at), static_cast<off_t>(at)) < 0)
      Die(path, errno);
  if (fsync(fd) != 0) Die(path, errno);
  posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  close(fd);
}

void MakeFiles() {
  Fill(BigPath(), kGiB);
  for (unsigned i = 0; i < kSmallFiles; i++) Fill(SmallPath(i), kSmall);
}

void RemoveFiles() {
  unlink(BigPath().c_str());
  unlink(NewPath().c_str());
  for (unsigned i = 0; i < kSmallFiles; i++) unlink(SmallPath(i).c_str());
}

// ---- fio ---------------------------------------------------------------------------------------

double NumberAfter(const std::string &text, const std::string &key, size_t from) {
  size_t at = text.find("\"" + key + "\"", from);
  return at == std::string::npos ? 0 : atof(text.c_str() + text.find(':', at) + 1);
}

Figures RunFio(bool write) {
  const char *engine = g_auto || g_backend == RF_BACKEND_IO_URING ? "io_uring" : "libaio";
  std::string command = "fio --name=peer --filename=" + BigPath() +
                        " --size=1G --bs=1M --direct=1" + " --iodepth=8 --ioengine=" + engine +
                        " --rw=" + (write ? "write" : "read") +
                        " --loops=" + std::to_string(g_loops) + " --output-format=json";
  FILE *pipe = popen(command.c_str(), "r");
  std::string text;
  char room[4096];
  while (pipe != nullptr && fgets(room, sizeof(room), pipe) != nullptr) text += room;
  if (pipe == nullptr || pclose(pipe) != 0) Die("fio", EIO);
  size_t at = text.find(write ? "\"write\" : {" : "\"read\" : {");
  Figures figures;
  figures.gb_per_s = NumberAfter(text, "bw_bytes", at) / 1e9;
  double seconds = NumberAfter(text, "runtime", at) / 1e3;
  double busy = (NumberAfter(text, "usr_cpu", 0) + NumberAfter(text, "sys_cpu", 0)) / 100;
  figures.cpu_per_gb = busy * seconds / (NumberAfter(text, "io_bytes", at) / 1e9);
  return figures;
}

// ---- a loop by hand ----------------------------------------------------------------------------

void LoopOnce(io_uring *ring, int fd, bool write, char *memory) {
  constexpr size_t kMiB = size_t{1} << 20;
  size_t next = 0, done = 0;
  while (done < kGiB) {
    while (next < kGiB && next - done < 8 * kMiB) {
      io_uring_sqe *entry = io_uring_get_sqe(ring);
      if (write)
        io_uring_prep_write(entry, fd, memory + next, kMiB, next);
      else
        io_uring_prep_read(entry, fd, memory + next, kMiB, next);
      next += kMiB;
    }
    io_uring_cqe *answer = nullptr;
    int status = io_uring_submit_and_wait(ring, 1);
    if (status >= 0) status = io_uring_peek_cqe(ring, &answer);
    if (status < 0) Die("the loop", status);
    if (answer->res != static_cast<int>(kMiB)) Die("the loop", answer->res < 0 ? answer->res : EIO);
    io_uring_cqe_seen(ring, answer);
    done += kMiB;
  }
}

Figures RunLoop(bool write, char *memory) {
  io_uring ring;
  int status = io_uring_queue_init(8, &ring,
                                   IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN |
                                       IORING_SETUP_DEFER_TASKRUN);
  int fd = open(BigPath().c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
  if (status < 0 || fd < 0) Die("the loop", status < 0 ? status : errno);
  double cpu = CpuSeconds(), begun = Now();
  for (unsigned i = 0; i < g_loops; i++) LoopOnce(&ring, fd, write, memory);
  double gb = static_cast<double>(kGiB) * g_loops / 1e9;
  Figures figures{gb / (Now() - begun), (CpuSeconds() - cpu) / gb, 0};
  io_uring_queue_exit(&ring);
  close(fd);
  return figures;
}

// ---- ours --------------------------------------------------------------------------------------

struct Bench {
  rf_engine *engine = nullptr;
  rf_arena *arena = nullptr;
  rf_pool *pool = nullptr;
  char *memory = nullptr; // kMemory bytes

  void Open() {
    rf_engine_options options;
    rf_engine_options_init(&options);
    options.choice = g_auto ? RF_CHOICE_AUTO : RF_CHOICE_REQUIRE;
    options.backend = g_backend;
    int status = rf_engine_open(&engine, &options);
    if (status != 0) Die("rf_engine_open", status);
    GetMemory();
    status = rf_pool_open(engine, &g_pool_options, &pool);
    if (status != 0) Die("rf_pool_open", status);
  }
  void Close() {
    rf_pool_close(pool, RF_POOL_DRAIN);
    rf_arena_close(arena);
    arena = nullptr;
    rf_engine_close(engine);
  }

private:
  void GetMemory() {
    int status = 0;
    if (g_memory == kArena) {
      status = rf_arena_open(engine, kMemory, 0, &arena);
      if (status == 0) memory = static_cast<char *>(rf_arena_base(arena));
    } else if (memory == nullptr) {
      void *got =
          mmap(nullptr, kMemory, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (got == MAP_FAILED) Die("mmap", errno);
      memory = static_cast<char *>(got);
    }
    if (g_memory == kAdopted) status = rf_arena_adopt(engine, memory, kMemory, &arena);
    if (status != 0) Die("the arena", status);
    memset(memory, 1, kMemory);
  }
};

rf_transfer_request Request(char *buffer, size_t length) {
  rf_transfer_request request;
  rf_transfer_request_init(&request);
  request.buffer = buffer;
  request.length = length;
  return request;
}

void RunOne(const Bench &bench, bool write, const rf_transfer_request &request) {
  rf_transfer_result result;
  int status = write ? rf_transfer_write_sync(bench.pool, &request, &result)
                     : rf_transfer_read_sync(bench.pool, &request, &result);
  if (status != 0 || result.bytes != request.length) Die("transfer", status);
  if (!result.direct) fprintf(stderr, "a transfer was not direct\n");
}

void RunBig(const Bench &bench, bool write, size_t shift) {
  std::string path = BigPath();
  rf_transfer_request request = Request(bench.memory + shift, kGiB);
  request.path = path.c_str();
  RunOne(bench, write, request);
}

void RunSmall(const Bench &bench, bool write, const std::vector<int> *fds) {
  std::vector<rf_transfer *> tokens(kSmallFiles);
  for (unsigned i = 0; i < kSmallFiles; i++) {
    std::string path = SmallPath(i);
    rf_transfer_request request = Request(bench.memory + i * kSmall, kSmall);
    if (fds != nullptr)
      request.fd = (*fds)[i];
    else
      request.path = path.c_str();
    int status = write ? rf_transfer_write(bench.pool, &request, &tokens[i])
                       : rf_transfer_read(bench.pool, &request, &tokens[i]);
    if (status != 0) Die("start", status);
  }
  for (rf_transfer *token : tokens) {
    rf_transfer_result result;
    rf_transfer_wait(token, RF_FOREVER, &result);
    if (result.status != 0 || result.bytes != kSmall) Die("small transfer", result.status);
    rf_transfer_release(token);
  }
}

void RunNew(const Bench &bench, bool preallocate) {
  std::string path = NewPath();
  rf_transfer_request request = Request(bench.memory, kGiB);
  request.path = path.c_str();
  request.flags = static_cast<unsigned>(RF_TRANSFER_CREATE);
  if (preallocate) request.flags |= RF_TRANSFER_PREALLOCATE;
  RunOne(bench, true, request);
}

Figures Measure(const Bench &bench, size_t bytes, unsigned loops, const std::function<void()> &once,
                const std::function<void()> &before) {
  double seconds = 0, cpu = 0;
  rf_counters start, end;
  rf_engine_counters(bench.engine, &start);
  for (unsigned i = 0; i < loops; i++) {
    before();
    double cpu_begun = CpuSeconds(), begun = Now();
    once();
    seconds += Now() - begun;
    cpu += CpuSeconds() - cpu_begun;
  }
  rf_engine_counters(bench.engine, &end);
  double gb = static_cast<double>(bytes) * loops / 1e9;
  double blocked = static_cast<double>(end.submit_ns - start.submit_ns) / 1e9;
  return {gb / seconds, cpu / gb, blocked / seconds / g_pool_options.workers};
}

// ---- memory ------------------------------------------------------------------------------------

size_t PeakKiB() {
  FILE *file = fopen("/proc/self/status", "r");
  char line[256];
  size_t peak = 0;
  while (file != nullptr && fgets(line, sizeof(line), file) != nullptr)
    if (sscanf(line, "VmHWM: %zu", &peak) == 1) break;
  if (file != nullptr) fclose(file);
  return peak;
}

void ResetPeak() {
  int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, "5", 1) != 1) Die("/proc/self/clear_refs", errno);
  close(fd);
}

void MeasureMemory(Bench &bench) {
  ResetPeak();
  size_t before = PeakKiB() + (g_memory == kArena ? kMemory / 1024 : 0); // which Open() makes
  bench.Open();
  RunBig(bench, false, 1);
  RunBig(bench, true, 1);
  rf_transfer_counters counters;
  rf_pool_counters(bench.pool, &counters);
  size_t after = PeakKiB();
  bench.Close();
  printf("memory beyond the buffer: %.1f MiB at the peak, of these %.1f of bounce buffers in use "
         "(limit %.1f)\n",
         static_cast<double>(after - before) / 1024,
         static_cast<double>(counters.bounce_most) / (1 << 20),
         static_cast<double>(g_pool_options.bounce_limit) / (1 << 20));
}

// ---- scenarios ---------------------------------------------------------------------------------

struct Scenario {
  const char *name;
  size_t bytes;
  unsigned loops;
  std::function<void()> once, before;
  std::function<Figures()> peer;
};

bool Wanted(const char *name) {
  return g_only.empty() || ("," + g_only + ",").find("," + std::string(name) + ",") != g_only.npos;
}

std::vector<int> OpenSmall() {
  std::vector<int> fds;
  for (unsigned i = 0; i < kSmallFiles; i++)
    fds.push_back(open(SmallPath(i).c_str(), O_RDWR | O_CLOEXEC));
  return fds;
}

void RunScenarios(Bench &bench) {
  std::vector<int> fds = OpenSmall();
  auto nothing = [] {};
  auto fio_read = [] { return RunFio(false); };
  auto fio_write = [] { return RunFio(true); };
  auto remove_new = [] {
    unlink(NewPath().c_str());
    sync();
  };
  constexpr size_t kSmallBytes = kSmall * kSmallFiles;
  std::vector<Scenario> scenarios = {
      {"read", kGiB, g_loops, [&] { RunBig(bench, false, 0); }, nothing, fio_read},
      {"overwrite", kGiB, g_loops, [&] { RunBig(bench, true, 0); }, nothing, fio_write},
      {"read-loop", kGiB, g_loops, [&] { RunBig(bench, false, 0); }, nothing,
       [&] { return RunLoop(false, bench.memory); }},
      {"overwrite-loop", kGiB, g_loops, [&] { RunBig(bench, true, 0); }, nothing,
       [&] { return RunLoop(true, bench.memory); }},
      {"odd-read", kGiB, g_loops, [&] { RunBig(bench, false, 1); }, nothing, fio_read},
      {"odd-overwrite", kGiB, g_loops, [&] { RunBig(bench, true, 1); }, nothing, fio_write},
      {"small-read-path", kSmallBytes, g_loops, [&] { RunSmall(bench, false, nullptr); }, nothing,
       fio_read},
      {"small-write-path", kSmallBytes, g_loops, [&] { RunSmall(bench, true, nullptr); }, nothing,
       fio_write},
      {"small-read-fd", kSmallBytes, g_loops, [&] { RunSmall(bench, false, &fds); }, nothing,
       fio_read},
      {"small-write-fd", kSmallBytes, g_loops, [&] { RunSmall(bench, true, &fds); }, nothing,
       fio_write},
      {"new-file", kGiB, 1, [&] { RunNew(bench, true); }, remove_new, fio_write},
      {"new-file-plain", kGiB, 1, [&] { RunNew(bench, false); }, remove_new, fio_write},
  };
  printf("%-17s %9s %9s %7s %11s %11s %6s %8s\n", "scenario", "GB/s", "peer GB/s", "ratio",
         "CPU s/GB", "peer s/GB", "ratio", "blocked");
  bench.Open();
  std::map<std::string, std::vector<double>> speed;
  for (const Scenario &scenario : scenarios) {
    if (!Wanted(scenario.name)) continue;
    std::vector<double> ours, theirs, our_cpu, their_cpu, blocked;
    for (unsigned round = 0; round < g_rounds; round++) {
      Figures peer = scenario.peer();
      Figures mine = Measure(bench, scenario.bytes, scenario.loops, scenario.once, scenario.before);
      ours.push_back(mine.gb_per_s), theirs.push_back(peer.gb_per_s);
      our_cpu.push_back(mine.cpu_per_gb), their_cpu.push_back(peer.cpu_per_gb);
      blocked.push_back(mine.blocked);
    }
    printf("%-17s %9.2f %9.2f %7.2f %11.3f %11.3f %6.2f %7.0f%%\n", scenario.name, Median(ours),
           Median(theirs), Median(ours) / Median(theirs), Median(our_cpu), Median(their_cpu),
           Median(our_cpu) / Median(their_cpu), Median(blocked) * 100);
    fflush(stdout);
  }
  bench.Close();
  for (int fd : fds) close(fd);
}

bool Take(const char *argument, const char *name, std::string *value) {
  size_t length = strlen(name);
  if (strncmp(argument, name, length) != 0 || argument[length] != '=') return false;
  *value = argument + length + 1;
  return true;
}

void ReadArguments(int argc, char **argv) {
  rf_pool_options_init(&g_pool_options);
  for (int i = 1; i < argc; i++) {
    std::string value;
    if (Take(argv[i], "--memory", &value) && value == "ordinary")
      g_memory = kOrdinary;
    else if (value == "adopted")
      g_memory = kAdopted;
    else if (value == "arena")
      g_memory = kArena;
    else if (Take(argv[i], "--dir", &value))
      g_dir = value;
    else if (Take(argv[i], "--only", &value))
      g_only = value;
    else if (Take(argv[i], "--rounds", &value))
      g_rounds = static_cast<unsigned>(atoi(value.c_str()));
    else if (Take(argv[i], "--loops", &value))
      g_loops = static_cast<unsigned>(atoi(value.c_str()));
    else if (Take(argv[i], "--workers", &value))
      g_pool_options.workers = static_cast<unsigned>(atoi(value.c_str()));
    else if (Take(argv[i], "--block", &value))
      g_pool_options.block_size = static_cast<size_t>(atoll(value.c_str()));
    else if (Take(argv[i], "--depth", &value))
      g_pool_options.queue_depth = static_cast<unsigned>(atoi(value.c_str()));
    else if (Take(argv[i], "--backend", &value) && value == "auto")
      g_auto = true;
    else if (!Take(argv[i], "--backend", &value) ||
             rf_backend_by_name(value.c_str(), &g_backend) != 0)
      Die(argv[i], EINVAL);
  }
}

} // namespace

int main(int argc, char **argv) {
  ReadArguments(argc, argv);
  Bench bench;
  MakeFiles();
  RunScenarios(bench);
  if (Wanted("memory")) MeasureMemory(bench);
  RemoveFiles();
  return 0;
}
