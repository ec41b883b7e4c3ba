# SPDX-License-Identifier: Apache-2.0
# The functions that public headers declare, one a line: "extern NAME PROTOTYPE", or "inline ..." of
# those that the header itself defines. PROTOTYPE is that of the header, on one line.
#   awk -f functions.awk HEADER...

function declared(text) {
  gsub(/[ \t\n]+/, " ", text)
  sub(/^ /, "", text)
  sub(/ $/, "", text)
  if (text ~ /^typedef / || !match(text, /rf_[a-z0-9_]+ ?\(/)) return
  name = substr(text, RSTART, RLENGTH)
  sub(/ ?\(/, "", name)
  kind = sub(/^static inline /, "", text) ? "inline" : "extern"
  print kind, name, text
}

FNR == 1 { statement = ""; depth = 0; comment = 0; cplusplus = 0 }

/^#ifdef __cplusplus/ { cplusplus = 1 }
/^#/ { if (/^#endif/) cplusplus = 0; continued = /\\$/; next }
continued { continued = /\\$/; next }
cplusplus { next }

{
  line = $0
  sub(/\/\/.*/, "", line)
  for (i = 1; i <= length(line); i++) {
    two = substr(line, i, 2)
    c = substr(line, i, 1)
    if (comment) {
      if (two == "*/") { comment = 0; i++ }
    } else if (two == "/*") {
      comment = 1
      i++
    } else if (c == "{") {
      if (depth++ == 0) { declared(statement); statement = "" }
    } else if (c == "}") {
      depth--
    } else if (depth == 0 && c == ";") {
      declared(statement)
      statement = ""
    } else if (depth == 0) {
      statement = statement c
    }
  }
  statement = statement " "
}
