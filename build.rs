//! What is made while the program is built, each by the room that it belongs to. Nothing is fetched.

#[path = "src/media/ffi/late/build.rs"]
mod late;
#[path = "src/serve/page/build.rs"]
mod page;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/media/ffi/late/build.rs");
    println!("cargo:rerun-if-changed=src/serve/page");
    late::write();
    page::write();
}
