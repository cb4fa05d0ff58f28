//! Plays a scenario script and shows it: `cargo run -p quoring-tests --example play -- tests/scenarios/figure-8.txt`.

fn main() {
    for path in std::env::args().skip(1) {
        match std::fs::read_to_string(&path) {
            Ok(script) => print!("{}", quoring_tests::script::play(&script, &path)),
            Err(error) => eprintln!("{path}: {error}"),
        }
    }
}
