#!/bin/sh
# Checks that this machine can build and run Broadhead; names every missing piece with the package that has it.
set -u

RUST_MINOR_MIN=95
KERNEL_MAJOR_MIN=5
KERNEL_MINOR_MIN=19

problems=0
problem() {
    printf 'missing: %s\n' "$1" >&2
    printf '     do: %s\n' "$2" >&2
    problems=$((problems + 1))
}

have() { command -v "$1" >/dev/null 2>&1; }

if [ "$(uname -s)" != Linux ]; then
    problem "Linux (this is $(uname -s))" "run it on Linux $KERNEL_MAJOR_MIN.$KERNEL_MINOR_MIN or newer, or in a Linux virtual machine"
else
    release=$(uname -r)
    major=${release%%.*}
    rest=${release#*.}
    minor=${rest%%[!0-9]*}
    if [ "$major" -lt "$KERNEL_MAJOR_MIN" ] || { [ "$major" -eq "$KERNEL_MAJOR_MIN" ] && [ "${minor:-0}" -lt "$KERNEL_MINOR_MIN" ]; }; then
        problem "Linux $KERNEL_MAJOR_MIN.$KERNEL_MINOR_MIN or newer for io_uring (this is $release)" "upgrade the kernel"
    fi
    disabled=$(cat /proc/sys/kernel/io_uring_disabled 2>/dev/null || echo 0)
    if [ "$disabled" = 2 ] || { [ "$disabled" = 1 ] && [ "$(id -u)" != 0 ]; }; then
        problem "permission to use io_uring (kernel.io_uring_disabled is $disabled)" "sudo sysctl -w kernel.io_uring_disabled=0"
    fi
fi

if ! have cargo || ! have rustc; then
    problem "Rust 1.$RUST_MINOR_MIN or newer (cargo, rustc)" "install it from https://rustup.rs"
else
    version=$(rustc --version 2>/dev/null | cut -d' ' -f2)
    minor=$(printf '%s' "$version" | cut -d. -f2)
    case $minor in
        '' | *[!0-9]*) problem "a working rustc (it does not tell its version)" "rustup default stable" ;;
        *) [ "$minor" -ge "$RUST_MINOR_MIN" ] || problem "Rust 1.$RUST_MINOR_MIN or newer (this is $version)" "rustup update stable" ;;
    esac
fi

if ! have cc && ! have gcc && ! have clang; then
    problem "a C compiler (cc)" "install gcc and the C library headers: apt-get install build-essential | dnf install gcc make | pacman -S base-devel"
elif ! echo '#include <stdio.h>
int main(void) { return 0; }' | "$(command -v cc || command -v gcc || command -v clang)" -x c -fsyntax-only - 2>/dev/null; then
    problem "the headers of the C library" "apt-get install libc6-dev | dnf install glibc-devel | pacman -S base-devel"
fi
have make || problem "make" "install make: apt-get install make | dnf install make | pacman -S make"

if [ "$problems" -gt 0 ]; then
    exit 1
fi
