"""Makes the inputs of the programs: large, varied, and the same each time."""

import random

_VOCABULARY_WORDS = 20000
_WORDS_PER_LINE = 9


def write_text(path, lines):
    """Lines of words, some much more frequent than others."""
    source = random.Random(1)
    letters = "etaoinshrdlucmfwypvbgkqjxz"
    words = ["".join(source.choices(letters, range(26, 0, -1), k=source.randint(2, 11)))
             for _ in range(_VOCABULARY_WORDS)]
    weights = [1 / (rank + 1) for rank in range(_VOCABULARY_WORDS)]
    cumulative = [sum(weights[:1])]
    for weight in weights[1:]:
        cumulative.append(cumulative[-1] + weight)
    with open(path, "w", encoding="ascii") as file:
        for number in range(lines):
            line = source.choices(words, cum_weights=cumulative, k=_WORDS_PER_LINE)
            file.write("%s %d\n" % (" ".join(line), number * 7919 % lines))


def _c_function(source, number):
    """One C function that calls earlier ones, with loops, a switch and an array."""
    cases = "\n".join("        case %d: total += (%s) ^ %d; break;" % (
        case, source.choice(["i * 3", "values[i % 8]", "total >> 3", "a - b", "i << 2"]), source.randint(1, 999999))
                      for case in range(source.randint(3, 9)))
    callee = "function%d(a + i, b ^ total)" % source.randrange(number) if number else "a"
    return """
static int function%(number)d(int a, int b) {
    int values[8] = {a, b, a + b, a - b, a ^ b, %(constant)d, a & b, a | b};
    int total = %(constant)d;
    for (int i = 0; i < (b & 15); i++) {
        switch ((a + i) %% 11) {
%(cases)s
        default: total ^= values[(i + total) & 7]; break;
        }
        if (total > %(limit)d) total -= %(callee)s;
    }
    record("function%(number)d", total);
    return total;
}
""" % {"number": number, "constant": source.randint(1, 10 ** 6), "limit": source.randint(10 ** 5, 10 ** 8), "cases": cases,
       "callee": callee}


def write_c(path, functions):
    """A C file of so many functions."""
    source = random.Random(2)
    with open(path, "w", encoding="ascii") as file:
        file.write("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n\n"
                   "void record(const char *name, int value);\n")
        for number in range(functions):
            file.write(_c_function(source, number))
        file.write("\nint (*const functions[])(int, int) = {\n%s};\n" %
                   "".join("    function%d,\n" % number for number in range(functions)))


def write_git_history(path, commits):
    """A stream for git fast-import: so many commits, each of which changes a few files of some hundred."""
    source = random.Random(3)
    contents = {}
    with open(path, "w", encoding="ascii") as file:
        for commit in range(commits):
            file.write("commit refs/heads/main\nmark :%d\n" % (commit + 1))
            file.write("committer A Programmer <programmer@example.org> %d +0000\n" % (1500000000 + commit * 3600))
            message = "Change %d\n" % commit
            file.write("data %d\n%s" % (len(message), message))
            for _ in range(source.randint(2, 12)):
                name = "folder%d/file%d.txt" % (source.randrange(20), source.randrange(40))
                lines = contents.setdefault(name, [])
                for _ in range(source.randint(5, 60)):
                    lines.insert(source.randrange(len(lines) + 1),
                                 "%x %x\n" % (source.getrandbits(120), source.getrandbits(16)))
                del lines[:max(0, len(lines) - 900)]
                text = "".join(lines)
                file.write("M 100644 inline %s\ndata %d\n%s\n" % (name, len(text), text))
            file.write("\n")


def write_redis_commands(path, keys):
    """Commands in redis' protocol that fill a data base with values of every kind."""
    source = random.Random(4)
    with open(path, "wb") as file:
        def send(*words):
            file.write(b"*%d\r\n" % len(words))
            for word in words:
                data = str(word).encode()
                file.write(b"$%d\r\n%s\r\n" % (len(data), data))

        send("SELECT", 0)
        for key in range(keys):
            value = "%x" % source.getrandbits(4 * source.randint(1, 400))
            group = source.randrange(keys // 50)
            send("SET", "string:%d" % key, value)
            send("HSET", "hash:%d" % group, "field%d" % source.randrange(200), value)
            send("RPUSH", "list:%d" % group, value[:50])
            send("ZADD", "sorted:%d" % group, source.randrange(10 ** 6), "member%d" % source.randrange(200))
            send("SADD", "set:%d" % group, value[:20])
            send("APPEND", "string:%d" % source.randrange(key + 1), value[:60])
            if key % 3 == 0:
                send("DEL", "string:%d" % source.randrange(key + 1))


def sqlite_script(rows):
    """SQL that loads so many rows, changes some, and asks about them in several ways."""
    return """
PRAGMA journal_mode=MEMORY; PRAGMA synchronous=OFF; PRAGMA page_size=4096; PRAGMA threads=2;
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, kind INTEGER, price REAL, note TEXT);
WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < %(rows)d)
INSERT INTO item SELECT n, printf('item %%08x', n * 2654435761 %% 4294967296), n * 7919 %% 1009, n %% 9973 / 7.0,
    substr('the quick brown fox jumps over the lazy dog', 1 + n %% 30, n %% 13) FROM number;
CREATE INDEX item_by_name ON item(name);
CREATE INDEX item_by_kind ON item(kind, price);
UPDATE item SET note = note || ' changed' WHERE id %% 17 = 3;
DELETE FROM item WHERE id %% 101 = 5;
SELECT count(*), sum(id), round(sum(price), 3), min(name), max(name) FROM item;
SELECT kind, count(*), round(avg(price), 6), group_concat(id %% 10, '') FROM item
    WHERE kind < 300 GROUP BY kind ORDER BY 3 DESC, 1;
SELECT note, count(*) FROM item GROUP BY note ORDER BY 2 DESC, 1;
SELECT a.id, b.id, b.name FROM item a JOIN item b ON b.name = printf('item %%08x', (a.id + 1) * 2654435761 %% 4294967296)
    WHERE a.kind = 77 ORDER BY a.price, a.id;
SELECT name FROM item ORDER BY note, name DESC LIMIT 20000;
PRAGMA integrity_check;
""" % {"rows": rows}
