#include <fcntl.h>
#include <ringfall/ringfall.h>
#include <stdio.h>

static int fail(const char *what, enum rf_status_source source, int status) {
  char text[RF_TEXT_SIZE];
  rf_status_text(source, status, text, sizeof(text));
  fprintf(stderr, "%s: %s\n", what, text);
  return 1;
}

int main(int argc, char **argv) {
  const char *path = argc > 1 ? argv[1] : "example.data", text[] = "one answer each\n";
  char back[sizeof(text)] = "";
  struct rf_engine *engine;
  struct rf_file *file;
  struct rf_queue *queue;
  struct rf_completion done[2];

  int status = rf_engine_open(&engine, NULL);
  if (status != 0) return fail("engine", RF_FROM_ENGINE, status);
  printf("%s\n", rf_engine_explanation(engine));
  status = rf_file_open(engine, path, O_RDWR | O_CREAT | O_TRUNC, 0644, &file);
  if (status != 0) return fail(path, RF_FROM_FILE, status);
  status = rf_queue_open(engine, NULL, &queue);
  if (status != 0) return fail("queue", RF_FROM_QUEUE, status);

  struct rf_op ops[2] = {rf_op_write(file, text, sizeof(text), 0, 1),
                         rf_op_read(file, back, sizeof(back), 0, 2)};
  ops[1].flags |= RF_OP_LINK; /* after the write, and only if that succeeded */
  int n = rf_submit_and_wait(queue, ops, 2, NULL, done, 2, 2, RF_FOREVER);
  for (int i = 0; i < n; i++) { /* what was done, or what went wrong, and where */
    char line[RF_TEXT_SIZE];
    rf_op_text(&ops[done[i].user_data - 1], &done[i], line, sizeof(line));
    puts(line);
  }
  fputs(back, stdout);
  return rf_queue_close(queue) || rf_file_close(file) || rf_engine_close(engine);
}
