//! With the feature `c`, compiles the calls of libosip2 and sofia-sip and links the two.

fn main() {
    println!("cargo::rerun-if-changed=c/parsers.c");
    #[cfg(feature = "c")]
    c_parsers();
}

#[cfg(feature = "c")]
fn c_parsers() {
    let mut build = cc::Build::new();
    build.file("c/parsers.c");
    for include in pkg_config("--cflags-only-I") {
        build.include(include);
    }
    build.compile("parsers");
    for library in pkg_config("--libs-only-l") {
        println!("cargo::rustc-link-lib={library}");
    }
}

/// What pkg-config says of the two, each word without its `-I` or `-l`.
#[cfg(feature = "c")]
fn pkg_config(what: &str) -> Vec<String> {
    let output = std::process::Command::new("pkg-config")
        .args([what, "libosip2", "sofia-sip-ua"])
        .output()
        .expect("pkg-config: bench/install-c-parsers installs it");
    let missing = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "bench/install-c-parsers installs these: {missing}"
    );
    String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .map(|word| word[2..].to_owned())
        .collect()
}
