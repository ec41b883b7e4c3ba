// SPDX-License-Identifier: Apache-2.0
//
// ringfall for C++17: handles that close themselves and can be moved but not copied, and errors as
// exceptions.  A start for a wrapper of your own; all of the C API works with get() beside it.
//
// Order of declaration is order of life.  An engine comes first, and the queue after the files and
// the memory that its ops use:
//
//     ringfall::Engine engine;
//     ringfall::File file(engine, "data", O_RDONLY);
//     ringfall::Arena arena(engine, 65536);
//     ringfall::Queue queue(engine);   // last: it goes first, and takes back what is in flight
//
// So an exception at any point leaves the kernel with nothing of ours in its hands.
#ifndef CPP_WRAPPER_HPP
#define CPP_WRAPPER_HPP

#include <fcntl.h>
#include <ringfall/ringfall.h>

#include <cassert>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace ringfall {

// code() is the errno, so that `e.code() == std::errc::no_space_on_device` works; what() is
// ringfall's own line, which says also what it means and what to do.
class Error : public std::system_error {
public:
  Error(int status, std::string text)
      : std::system_error(-status, std::generic_category()),
        text_(std::make_shared<const std::string>(std::move(text))) {}
  const char *what() const noexcept override { return text_->c_str(); }

private:
  std::shared_ptr<const std::string> text_; // exceptions are copied, and that must not throw
};

// Gives back a status that is none of an error.
inline int Check(int status, rf_status_source source, const char *what) {
  if (status >= 0) return status;
  char text[RF_TEXT_SIZE];
  rf_status_text(source, status, text, sizeof(text));
  throw Error(status, std::string(what) + ": " + text);
}

// The same for an op: the bytes that it moved.
inline uint64_t Check(const rf_op &op, const rf_completion &done) {
  if (done.status == 0) return static_cast<uint64_t>(done.bytes);
  char text[RF_TEXT_SIZE];
  rf_op_text(&op, &done, text, sizeof(text));
  throw Error(done.status, text);
}

// Destructors cannot tell of errors.  The one that matters, EBUSY, is a mistake in the program:
// something of the engine or an op on the file is still there.  See the order of declaration.
template <typename Handle, int (*Close)(Handle *)> struct Closer {
  void operator()(Handle *handle) const noexcept {
    const int status = Close(handle);
    assert(status != -EBUSY);
    (void)status;
  }
};

class Engine {
public:
  explicit Engine(const rf_engine_options *options = nullptr) {
    rf_engine *engine = nullptr;
    Check(rf_engine_open(&engine, options), RF_FROM_ENGINE, "engine");
    handle_.reset(engine);
  }
  rf_engine *get() const noexcept { return handle_.get(); }
  std::string Explanation() const { return rf_engine_explanation(get()); }

private:
  std::unique_ptr<rf_engine, Closer<rf_engine, rf_engine_close>> handle_;
};

class File {
public:
  File(const Engine &engine, const std::string &path, int flags, mode_t mode = 0644) {
    rf_file *file = nullptr;
    Check(rf_file_open(engine.get(), path.c_str(), flags, mode, &file), RF_FROM_FILE, path.c_str());
    handle_.reset(file);
  }
  rf_file *get() const noexcept { return handle_.get(); }
  const rf_file_info &Info() const noexcept { return *rf_file_get_info(get()); }

private:
  std::unique_ptr<rf_file, Closer<rf_file, rf_file_close>> handle_;
};

class Arena {
public:
  Arena(const Engine &engine, std::size_t size, unsigned flags = 0) {
    rf_arena *arena = nullptr;
    Check(rf_arena_open(engine.get(), size, flags, &arena), RF_FROM_ARENA, "arena");
    handle_.reset(arena);
  }
  rf_arena *get() const noexcept { return handle_.get(); }
  std::byte *data() const noexcept { return static_cast<std::byte *>(rf_arena_base(get())); }
  std::size_t size() const noexcept { return rf_arena_size(get()); }

private:
  struct ArenaCloser {
    void operator()(rf_arena *arena) const noexcept { rf_arena_close(arena); }
  };
  std::unique_ptr<rf_arena, ArenaCloser> handle_;
};

// May be moved, but belongs to the thread that uses it first: move it there before.
class Queue {
public:
  explicit Queue(const Engine &engine, const rf_queue_options *options = nullptr) {
    rf_queue *queue = nullptr;
    Check(rf_queue_open(engine.get(), options, &queue), RF_FROM_QUEUE, "queue");
    handle_.reset(queue);
  }
  rf_queue *get() const noexcept { return handle_.get(); }

  // False: the queue is full, and the op was not taken.
  bool Submit(const rf_op &op) {
    const int count = rf_submit(get(), &op, 1);
    return count == -EAGAIN ? false : Check(count, RF_FROM_QUEUE, "submit") == 1;
  }

  // Waits for at least `min` completions, and fills `done` with as many as there are, up to its
  // size, which becomes their number.
  void Wait(std::vector<rf_completion> *done, unsigned min = 1, int64_t timeout_ns = RF_FOREVER) {
    const auto max = static_cast<unsigned>(done->size());
    const int count =
        Check(rf_wait(get(), done->data(), min, max, timeout_ns), RF_FROM_QUEUE, "wait");
    done->resize(static_cast<std::size_t>(count));
  }

  // Does one op, on a queue that has no other; how many bytes it moved.
  uint64_t Do(const rf_op &op) {
    rf_completion done;
    Check(rf_submit_and_wait(get(), &op, 1, nullptr, &done, 1, 1, RF_FOREVER), RF_FROM_QUEUE,
          "wait");
    return Check(op, done);
  }

private:
  std::unique_ptr<rf_queue, Closer<rf_queue, rf_queue_close>> handle_;
};

} // namespace ringfall

#endif
