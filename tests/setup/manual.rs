//! The manual, as `man` shows it.

use crate::run::{Home, end, has, stderr, stdout};

#[test]
fn the_whole_manual_is_printed_and_a_page_of_it() {
    let home = Home::new();
    let whole = stdout(&home.fumidai("man"));
    let page = stdout(&home.fumidai("man connect"));
    assert!(whole.contains(".TH fumidai 1") && whole.contains("EXIT STATUS") && whole.contains(&page));
    assert!(page.contains(".TH fumidai-connect 1") && !page.contains(".TH fumidai 1"), "{page}");
    let below = stdout(&home.fumidai("man bastion start"));
    assert!(below.contains(".TH fumidai-bastion-start 1") && below.contains("dry"), "{below}");
    for (command, cause) in [
        ("man conect", "the commands are"),
        ("man bastion strat", "`fumidai bastion` has no command `strat`"),
    ] {
        let (code, words) = end(&home.fumidai(command));
        assert!(code == Some(2) && words.contains(cause), "{words}");
    }
}

#[test]
fn man_finds_nothing_to_complain_about() {
    if !has("groff") {
        return;
    }
    let home = Home::new();
    home.write("pages", &stdout(&home.fumidai("man")));
    let output = home.command("groff").args(["-man", "-Tutf8", "-ww", "-z", "pages"]).output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}
