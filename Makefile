# Installs the library for C and C++, in the tree that `cargo cinstall` lays, without cargo-c:
#
#     make                              builds the library, and its reference if Doxygen is there
#     make install PREFIX=/usr/local DESTDIR=
#     make uninstall PREFIX=/usr/local DESTDIR=
#     make doc                          builds the reference: HTML and man pages
#
# LIBDIR, INCLUDEDIR, DATADIR and PKGCONFIGDIR move parts of the tree; CARGO_BUILD_TARGET is
# respected. Needs Rust, a C compiler, GNU make and, on Linux, GNU ld; the reference needs doxygen
# and doxygen2man. For ELF systems, such as Linux; elsewhere use cargo-c.

PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DATADIR ?= $(PREFIX)/share
PKGCONFIGDIR ?= $(LIBDIR)/pkgconfig
CARGO ?= cargo
# FAIL_ON_WARNINGS in the tests; no other version of Doxygen shall keep anyone from installing.
WARN_AS_ERROR ?= NO
INSTALL ?= install

# Cargo.toml alone says the version, and how much of it is in the soname, for cargo-c and for this.
from_cargo_toml = $(shell sed -n 's/^$(1) = "*\([^"]*\)"*$$/\1/p' Cargo.toml | head -n 1)
version := $(call from_cargo_toml,version)
components := $(call from_cargo_toml,version_suffix_components)
soversion := $(shell echo '$(version)' | cut -d . -f 1-$(components))
library := libmanifest_cache.so
soname := $(library).$(soversion)

# Apart from what `cargo build` makes, which has no soname: programs are linked to that where it
# stands. A folder for each target, so that none is taken for another.
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

# Only when something changed: `sudo make install` needs no cargo after `make`. rustc itself knows
# what a program needs that is linked to the static library.
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

# Doxygen writes one page about everything, and links to it by every name, those of members too;
# doxygen2man a page for each function.
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

# The man pages have the names of what the header declares.
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
