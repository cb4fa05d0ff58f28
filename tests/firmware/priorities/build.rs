//! Tells the linker how to lay the image out. What memory the board has, the board's package tells it.

fn main() {
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    println!("cargo:rustc-link-arg-bins=--nmagic");
}
