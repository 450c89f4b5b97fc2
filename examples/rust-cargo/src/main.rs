//! Says how many columns of a terminal a text takes.
use unicode_width::UnicodeWidthStr;

fn main() {
    let text = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    println!("{} columns: {}", text.width(), text);
}
