"""Checks that read what was built: which names the archives and the shared objects define and need."""

import glob
import os
import re
import subprocess

MALLOC_FAMILY = frozenset("""malloc free calloc realloc reallocarray memalign aligned_alloc posix_memalign valloc
    pvalloc cfree malloc_usable_size malloc_trim mallinfo mallinfo2 malloc_info malloc_stats mallopt free_sized
    free_aligned_sized __libc_malloc __libc_free __libc_calloc __libc_realloc __libc_memalign __libc_valloc
    __libc_pvalloc""".split())

TANDEM_API = frozenset("""tandem_version tandem_front_end tandem_mode tandem_index tandem_mode_reason tandem_flush
    tandem_release_memory tandem_alloc_at_least tandem_get_stats tandem_stats_text tandem_stats_json""".split())

# operator new, new[], delete, delete[]: plain, nothrow, aligned, sized, in C++17.
_NEW_SUFFIXES = ["m", "mRKSt9nothrow_t", "mSt11align_val_t", "mSt11align_val_tRKSt9nothrow_t"]
_DELETE_SUFFIXES = ["Pv", "PvRKSt9nothrow_t", "PvSt11align_val_t", "PvSt11align_val_tRKSt9nothrow_t", "Pvm",
                    "PvmSt11align_val_t"]
OPERATORS = frozenset(["_Zn" + kind + suffix for kind in "wa" for suffix in _NEW_SUFFIXES] +
                      ["_Zd" + kind + suffix for kind in "la" for suffix in _DELETE_SUFFIXES])

_OPTIONAL = re.compile(r"(__size_returning_new\w*|tandem_\w+)$")
_ARCHIVE_NAMES = re.compile(r"(td_\w+|tandem_\w+)$")

LAYER_FOLDERS = ["allocator", "frontends", "middle", "backend", "base"]


def _output(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, universal_newlines=True).stdout


def _defined(*options):
    """Names of the symbols that `nm options` lists as defined."""
    names = []
    for line in _output("nm", "--defined-only", "--format=posix", *options).splitlines():
        fields = line.split()
        if len(fields) >= 2 and not line.endswith(":"):
            names.append((fields[0].split("@")[0], fields[1]))
    return names


def archives(bin_folder):
    found = []
    for folder in LAYER_FOLDERS:
        for suffix in (".a", ".lo"):
            found += glob.glob(os.path.join(bin_folder, folder, "**", "lib*" + suffix), recursive=True)
    if not found:
        raise FileNotFoundError("no archive under " + bin_folder)
    return sorted(found)


def shared_objects(bin_folder):
    found = sorted(glob.glob(os.path.join(bin_folder, "allocator", "libtandem_*.so")))
    if len(found) < 2:
        raise FileNotFoundError("not two shared objects under " + bin_folder)
    return found


def archive_findings(bin_folder):
    """Global names in the static archives that could collide with a program's own."""
    findings = []
    for archive in archives(bin_folder):
        for name, _ in _defined("--extern-only", archive):
            if not (name in MALLOC_FAMILY or name in OPERATORS or _OPTIONAL.match(name) or _ARCHIVE_NAMES.match(name)
                    or name.startswith("DW.ref.")):
                findings.append("%s defines %s" % (os.path.relpath(archive, bin_folder), name))
    return findings


def export_findings(bin_folder):
    """Shared objects that export too much or too little."""
    findings = []
    for library in shared_objects(bin_folder):
        # Lower case: local symbols, which the dynamic symbol table holds for relocations only.
        exported = {name for name, kind in _defined("--dynamic", library) if kind.isupper()}
        base = os.path.basename(library)
        findings += ["%s exports %s" % (base, name) for name in sorted(exported)
                     if not (name in MALLOC_FAMILY or name in OPERATORS or _OPTIONAL.match(name))]
        findings += ["%s does not export %s" % (base, name)
                     for name in sorted((MALLOC_FAMILY | OPERATORS | TANDEM_API) - exported)]
        # valgrind's tools put their own in the place of strong ones only.
        findings += ["%s exports %s weakly" % (base, name)
                     for name, kind in sorted(_defined("--dynamic", library)) if kind == "W" and name in OPERATORS]
    return findings


def dynamic_findings(bin_folder):
    """What the shared objects ask of the dynamic linker."""
    findings = []
    for library in shared_objects(bin_folder):
        base = os.path.basename(library)
        dynamic = _output("readelf", "--wide", "--dynamic", library)
        needed = re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)
        findings += ["%s needs %s" % (base, name) for name in needed
                     if not re.match(r"(libc\.so\.6|libpthread\.so\.0|ld-linux.*)$", name)]
        soname = re.findall(r"\(SONAME\).*\[(.*)\]", dynamic)
        if soname != [base]:
            findings.append("%s: soname is %s" % (base, soname))
        if not re.search(r"\(FLAGS_1\).*NODELETE", dynamic):
            findings.append("%s may be unloaded" % base)
        if re.search(r"TEXTREL", dynamic):
            findings.append("%s has text relocations" % base)
        relocations = _output("readelf", "--wide", "--relocs", library)
        if re.search(r"DTPMOD|TLSDESC", relocations) or "__tls_get_addr" in relocations:
            findings.append("%s has thread-local variables that are not initial-exec" % base)
    return findings
