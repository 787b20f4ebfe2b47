#!/bin/sh
# Compiles the binary of the images: build-binary.sh ARCHITECTURE OUTPUT, where the architecture is docker's (amd64, arm64).
# It is linked statically, so that it runs in an image that has nothing else. Needs cargo, and for the machine's own
# architecture a C compiler; for another one it installs Debian's cross compiler (as root) and, with rustup, the target.
set -eu
arch=$1 output=$2 profile=${PROFILE:-dist}
case $arch in
    amd64) machine=x86_64 cross=x86-64 ;;
    arm64) machine=aarch64 cross=aarch64 ;;
    *) echo "no such architecture: $arch (amd64, arm64)" >&2; exit 1 ;;
esac
target=$machine-unknown-linux-gnu
variable=$(echo "$target" | tr a-z- A-Z_)
if [ "$(uname -m)" != "$machine" ]; then
    compiler=$machine-linux-gnu-gcc
    if ! command -v "$compiler" >/dev/null; then
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends "gcc-$cross-linux-gnu" "g++-$cross-linux-gnu" "libc6-dev-$arch-cross"
    fi
    export "CARGO_TARGET_${variable}_LINKER=$compiler"
fi
if command -v rustup >/dev/null && [ ! -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; then
    rustup target add "$target"
fi
# On amd64 Rust links with LLD, which folds functions of the same code into one.
folding=
[ "$arch $(uname -m)" != "amd64 x86_64" ] || folding=" -C link-arg=-Wl,--icf=all"
export "CARGO_TARGET_${variable}_RUSTFLAGS=-C target-feature=+crt-static -C relocation-model=static$folding"
cargo build --locked --profile "$profile" --package ottla --target "$target"
directory=$profile
[ "$profile" = dev ] && directory=debug
mkdir -p "$(dirname "$output")"
cp "${CARGO_TARGET_DIR:-target}/$target/$directory/ottla" "$output"
# Not every linker heeds the profile's `strip`: the names of functions are a sixth of the file.
strip=strip
[ "$(uname -m)" != "$machine" ] && strip=$machine-linux-gnu-strip
[ "$profile" != dist ] || "$strip" "$output"
ls -l "$output"
