// SPDX-License-Identifier: Apache-2.0
/* Runs a program from the pages, which was built as a shared object without ringfall: takes it up,
 * and gives it the library that is linked here.  Usage: host OBJECT [ARGUMENT]... */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

typedef int main_function(int argc, char **argv);

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  void *object = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL);
  void *symbol = object != NULL ? dlsym(object, "program_main") : NULL;
  if (symbol == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 2;
  }
  main_function *program;
  memcpy(&program, &symbol, sizeof(program));
  return program(argc - 1, argv + 1);
}
