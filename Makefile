# Installs the library for C and C++ without cargo-c, in the same tree as `cargo cinstall`:
#
#     make                              builds the library, and the reference if Doxygen is installed
#     make install PREFIX=/usr/local DESTDIR=
#     make uninstall PREFIX=/usr/local DESTDIR=
#     make doc                          builds the reference: HTML and man pages
#
# LIBDIR, INCLUDEDIR, DATADIR and PKGCONFIGDIR set where parts of the tree go. CARGO_BUILD_TARGET
# sets the target. Needs Rust, a C compiler, GNU make and, on Linux, GNU ld. The reference also
# needs doxygen and doxygen2man. Works on ELF systems, such as Linux; use cargo-c on others.

PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DATADIR ?= $(PREFIX)/share
PKGCONFIGDIR ?= $(LIBDIR)/pkgconfig
CARGO ?= cargo
# The tests set FAIL_ON_WARNINGS. Users may have another version of Doxygen, with other warnings,
# which must not stop the installation.
WARN_AS_ERROR ?= NO
INSTALL ?= install

# The version, and how many of its parts the soname has, are set in Cargo.toml only, also for
# cargo-c.
from_cargo_toml = $(shell sed -n 's/^$(1) = "*\([^"]*\)"*$$/\1/p' Cargo.toml | head -n 1)
version := $(call from_cargo_toml,version)
components := $(call from_cargo_toml,version_suffix_components)
soversion := $(shell echo '$(version)' | cut -d . -f 1-$(components))
library := libmanifest_cache.so
soname := $(library).$(soversion)

# Not the directory of `cargo build`: that library has no soname, and programs are linked to it in
# its place. Each target has its own directory, so that `make` never installs the library of another
# one.
build := target/dist/$(or $(CARGO_BUILD_TARGET),host)
doc := target/doc-c
pages := $(doc)/man/man3
library_dir := $(DESTDIR)$(LIBDIR)
include_dir := $(DESTDIR)$(INCLUDEDIR)
data_dir := $(DESTDIR)$(DATADIR)/manifest_cache
cmake_dir := $(DESTDIR)$(DATADIR)/cmake/manifest_cache
html_dir := $(DESTDIR)$(DATADIR)/doc/manifest_cache
man_dir := $(DESTDIR)$(DATADIR)/man/man3

doc_tools := $(and $(shell command -v doxygen),$(shell command -v doxygen2man))
doc_if_possible := $(if $(doc_tools),doc,no-doc)

paths := $(PREFIX) $(LIBDIR) $(INCLUDEDIR) $(DATADIR) $(PKGCONFIGDIR)
ifneq ($(words $(paths))$(filter-out /%,$(paths)),5)
$(error PREFIX and the directories below it must be absolute paths without spaces)
endif

.PHONY: all library doc no-doc install uninstall clean

all: library $(doc_if_possible)

library: $(build)/stamp

# Runs only if a source has changed, so `sudo make install` after `make` does not need cargo. rustc
# prints the system libraries that a program needs if it is linked to the static library.
$(build)/stamp: Makefile Cargo.toml Cargo.lock build.rs cbindgen.toml $(shell find src -name '*.rs')
	target=$${CARGO_BUILD_TARGET:-$$(rustc -vV | sed -n 's/^host: //p')} && \
	$(CARGO) rustc --release --locked --lib --features capi --crate-type cdylib,staticlib \
		--target-dir $(build) --target "$$target" -- \
		-C link-arg=-Wl,-soname,$(soname) \
		--print native-static-libs=$(build)/native-static-libs && \
	cp "$(build)/$$target/release/$(library)" \
		"$(build)/$$target/release/libmanifest_cache.a" $(build)
	touch $@

doc: $(doc)/stamp

# Doxygen writes one man page for the whole header, and a link to it for each name, also for the
# members of structs, which are deleted here. doxygen2man writes a page for each function.
$(doc)/stamp: include/manifest_cache.h include/manifest_cache.hpp docs/Doxyfile docs/mainpage.dox \
	Cargo.toml
	rm -rf $(doc)
	mkdir -p $(doc)
	(cat docs/Doxyfile; echo 'PROJECT_NUMBER = $(version)'; \
		echo 'WARN_AS_ERROR = $(WARN_AS_ERROR)') | doxygen -
	find $(pages) -type f ! -name 'mc_*.3' ! -name 'MC_*.3' ! -name manifest_cache.h.3 -delete
	doxygen2man -m -o $(pages) -d $(doc)/xml/ -p manifest_cache \
		-H 'manifest_cache $(version)' -D '' \
		manifest__cache_8h.xml >$(doc)/doxygen2man.log
	sed -i '/^\.SH COPYRIGHT$$/,$$d' $(pages)/mc_*.3
	echo '.so man3/manifest_cache.h.3' >$(pages)/manifest_cache.3
	touch $@

no-doc:
	@echo 'note: without doxygen and doxygen2man there is no HTML reference and there are no man pages'

install: library $(doc_if_possible)
	$(INSTALL) -d '$(library_dir)' '$(include_dir)' '$(DESTDIR)$(PKGCONFIGDIR)' '$(cmake_dir)' \
		'$(data_dir)'
	$(INSTALL) -m 755 $(build)/$(library) '$(library_dir)/$(library).$(version)'
	ln -sf $(library).$(version) '$(library_dir)/$(soname)'
	ln -sf $(library).$(version) '$(library_dir)/$(library)'
	$(INSTALL) -m 644 $(build)/libmanifest_cache.a '$(library_dir)'
	$(INSTALL) -m 644 include/manifest_cache.h include/manifest_cache.hpp '$(include_dir)'
	$(INSTALL) -m 644 cmake/*.cmake '$(cmake_dir)'
	$(INSTALL) -m 644 tsan.supp '$(data_dir)'
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(version)|' \
		-e 's|@LIBDIR@|$(LIBDIR:$(PREFIX)/%=$${prefix}/%)|' \
		-e 's|@INCLUDEDIR@|$(INCLUDEDIR:$(PREFIX)/%=$${prefix}/%)|' \
		-e 's|@DESCRIPTION@|$(call from_cargo_toml,description)|' \
		-e "s|@LIBS_PRIVATE@| $$(cat $(build)/native-static-libs)|" \
		manifest_cache.pc.in >'$(DESTDIR)$(PKGCONFIGDIR)/manifest_cache.pc'
	chmod 644 '$(DESTDIR)$(PKGCONFIGDIR)/manifest_cache.pc'
ifneq ($(doc_tools),)
	$(INSTALL) -d '$(html_dir)/html' '$(man_dir)'
	$(INSTALL) -m 644 $(doc)/html/* '$(html_dir)/html'
	$(INSTALL) -m 644 $(pages)/* '$(man_dir)'
endif

# The man pages are named after the functions, types and constants that the header declares.
uninstall:
	rm -f '$(library_dir)/$(library)' '$(library_dir)/$(soname)' \
		'$(library_dir)/$(library).$(version)' '$(library_dir)/libmanifest_cache.a' \
		'$(DESTDIR)$(PKGCONFIGDIR)/manifest_cache.pc' \
		'$(include_dir)/manifest_cache.h' '$(include_dir)/manifest_cache.hpp'
	rm -rf '$(data_dir)' '$(cmake_dir)' '$(html_dir)'
	for name in manifest_cache manifest_cache.h \
		$$(grep -o '\b[Mm][Cc]_[A-Za-z0-9_]*' include/manifest_cache.h | sort -u); do \
		rm -f '$(man_dir)'/$$name.3; \
	done

clean:
	rm -rf target/dist $(doc)
