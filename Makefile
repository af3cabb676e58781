# Installs plyfs: the program, the names other tools call it by, manual pages and completions.
#
#   make                      builds it
#   make install              puts it into /usr/local
#   make install PREFIX=/usr DESTDIR=/tmp/package
#   make uninstall            takes all of that away again
#
# What can be chosen:
#   BIN=FILE    a program that is built already
#   LINKS=      the names in bin it gets besides its own; empty leaves fuse-overlayfs alone
#   MOUNTDIR=   where mount(8) looks for helpers: /sbin, whatever PREFIX is
#   APPARMORDIR= where AppArmor has its profiles; empty installs none. The default is /etc/apparmor.d where AppArmor
#               4.0 is, which is the first that restricts user namespaces
#   GENERATE=   a plyfs that runs on this machine, if BIN is for another

PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo
BIN ?= target/release/plyfs
GENERATE ?= $(BIN)
LINKS ?= fuse-overlayfs
HELPERS ?= mount.plyfs mount.fuse.plyfs

BINDIR ?= $(PREFIX)/bin
MOUNTDIR ?= $(PREFIX)/sbin
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/plyfs
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
FISHDIR ?= $(PREFIX)/share/fish/vendor_completions.d

APPARMORDIR ?= $(if $(wildcard /etc/apparmor.d/abi/4.0),/etc/apparmor.d)

INSTALL ?= install
DOCS = README.md SECURITY.md SEMANTICS.md CHANGELOG.md $(wildcard docs/*.md)

.PHONY: all install uninstall release

all: $(BIN)

# Cargo knows itself what has to be built again.
target/release/plyfs: release
release:
	$(CARGO) build --release --locked

# What is generated goes to a directory that is gone afterwards, so that no build directory of a user gets
# files of root.
install: $(BIN)
	$(INSTALL) -d $(addprefix $(DESTDIR),$(BINDIR) $(MOUNTDIR) $(MANDIR)/man1 $(MANDIR)/man8 \
		$(DOCDIR) $(BASHDIR) $(ZSHDIR) $(FISHDIR))
	$(INSTALL) -m 0755 $(BIN) $(DESTDIR)$(BINDIR)/plyfs
	for link in $(LINKS); do ln -sfn plyfs $(DESTDIR)$(BINDIR)/$$link || exit 1; done
	for link in $(HELPERS); do \
		ln -sfnr $(DESTDIR)$(BINDIR)/plyfs $(DESTDIR)$(MOUNTDIR)/$$link || exit 1; done
	set -e; made=$$(mktemp -d); trap 'rm -rf "$$made"' EXIT; \
	$(abspath $(GENERATE)) generate man "$$made/man"; \
	$(abspath $(GENERATE)) generate completions "$$made/completions"; \
	$(INSTALL) -m 0644 "$$made"/man/*.1 $(DESTDIR)$(MANDIR)/man1; \
	$(INSTALL) -m 0644 "$$made/completions/plyfs.bash" $(DESTDIR)$(BASHDIR)/plyfs; \
	$(INSTALL) -m 0644 "$$made/completions/_plyfs" $(DESTDIR)$(ZSHDIR)/_plyfs; \
	$(INSTALL) -m 0644 "$$made/completions/plyfs.fish" $(DESTDIR)$(FISHDIR)/plyfs.fish
	$(INSTALL) -m 0644 docs/man/mount.plyfs.8 $(DESTDIR)$(MANDIR)/man8
	echo '.so man8/mount.plyfs.8' >$(DESTDIR)$(MANDIR)/man8/mount.fuse.plyfs.8
	$(INSTALL) -m 0644 $(DOCS) $(DESTDIR)$(DOCDIR)
	if [ -n "$(APPARMORDIR)" ]; then \
		$(INSTALL) -d $(DESTDIR)$(APPARMORDIR) && \
		sed 's|@BINDIR@|$(BINDIR)|' docs/apparmor/plyfs >$(DESTDIR)$(APPARMORDIR)/plyfs && \
		chmod 0644 $(DESTDIR)$(APPARMORDIR)/plyfs; fi

# A link of ours leads to plyfs; the same name of another package does not.
uninstall:
	for link in $(addprefix $(DESTDIR)$(BINDIR)/,$(LINKS)) \
		$(addprefix $(DESTDIR)$(MOUNTDIR)/,$(HELPERS)); do \
		case $$(readlink "$$link") in plyfs | */plyfs) rm -f "$$link" ;; esac; done
	rm -f $(DESTDIR)$(BINDIR)/plyfs
	rm -f $(DESTDIR)$(MANDIR)/man1/plyfs.1 $(DESTDIR)$(MANDIR)/man1/plyfs-*.1
	rm -f $(DESTDIR)$(MANDIR)/man8/mount.plyfs.8 $(DESTDIR)$(MANDIR)/man8/mount.fuse.plyfs.8
	rm -f $(DESTDIR)$(BASHDIR)/plyfs $(DESTDIR)$(ZSHDIR)/_plyfs $(DESTDIR)$(FISHDIR)/plyfs.fish
	if [ -n "$(APPARMORDIR)" ]; then rm -f $(DESTDIR)$(APPARMORDIR)/plyfs; fi
	rm -rf $(DESTDIR)$(DOCDIR)
