# shellcheck shell=bash
# What the scripts have in common: building what is missing. COTERIE_ROOT is set by whoever reads this.

build_tools() { # the programs on the host: quick when nothing has changed
    "$COTERIE_ROOT/scripts/setup"
    [ -x "$COTERIE_ROOT/target/release/xtask" ] ||
        echo "building the tools; the first time this takes a minute or two" >&2
    (cd "$COTERIE_ROOT" && cargo build --quiet --release --package xtask --package vswitch)
}

build_image() { # the image, unless --image names another
    case " $* " in
        *" --image "*) return ;;
        *" --adversary "*) "$COTERIE_ROOT/scripts/image" --quietly --adversary >&2; return ;;
        *" --smp "*) "$COTERIE_ROOT/scripts/image" --quietly --smp >&2; return ;;
    esac
    [ -f "$COTERIE_ROOT/target/coterie-node" ] ||
        echo "building the image; the first time this takes two or three minutes" >&2
    "$COTERIE_ROOT/scripts/image" --quietly >&2
}
