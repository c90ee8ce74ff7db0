use super::*;
use crate::templates::Said;

fn miner() -> Miner {
    Miner::new(MinerLimits::default())
}

/// What the lines have in common at the end, each template once, in the order of their beginning.
fn texts(lines: &[&str]) -> Vec<String> {
    let mut miner = miner();
    for line in lines {
        miner.observe(Nanos(0), line);
    }
    miner.templates().map(|template| template.text.clone()).collect()
}

#[test]
fn values_are_masked() {
    let cases = [
        ("number", "took 12 steps", "took <*> steps"),
        ("sign and fraction", "moved -1.5 to +3", "moved <*> to <*>"),
        ("a sign between words stays", "non-zero a-b", "non-zero a-b"),
        ("number and unit", "took 12ms, used 5% of 3GiB", "took <*>, used <*> of <*>"),
        ("size with a space", "free 17.1 KB of 2 MB here", "free <*> of <*> here"),
        ("the unit of a count is a word", "after 3 seconds", "after <*> seconds"),
        ("address and port", "lost 10.0.0.1:9000 again", "lost <*> again"),
        ("IPv6", "from fe80::1:ab to ::1", "from <*> to ::<*>"),
        ("hardware address", "peer de:ad:be:ef:aa:bb left", "peer <*> left"),
        ("uuid", "id=3f2504e0-4f89-11d3-9a0c-0305e82c3301;", "id=<*>;"),
        ("hexadecimal", "at 0xdeadbeef and deadbeef", "at <*> and <*>"),
        ("path", "open /var/log/x.log: denied", "open <*>: denied"),
        ("relative path", "open ./a and src/main.rs or ../b", "open <*> and <*> or <*>"),
        ("either or is no path", "read/write and/or", "read/write and/or"),
        ("Windows path", r"load C:\Windows\x.dll now", "load <*> now"),
        ("address of a page", "GET https://shop.example/a?b=c#d (ok)", "GET <*> (ok)"),
        ("e-mail", "mail to anna@shop.example.", "mail to <*>."),
        ("time", "2024-01-25T14:30:45.123Z slow", "<*> slow"),
        ("time of syslog", "Jun  9 06:06:01 host up", "<*> host up"),
        ("time of a web server", "[Sun Dec 04 04:47:44 2005] up", "[<*>] up"),
        ("a month is a word", "Mar is near", "Mar is near"),
        ("list", "ids [1, 2, 3] in (4,5)", "ids [<*>] in (<*>)"),
        ("values in a row", "at 1 2 3 of", "at <*> of"),
        ("a field's name stays", "status=200 user_id=7 ok=true", "status=<*> user_id=<*> ok=true"),
        ("dots that fill", "enable......1", "enable......<*>"),
        ("what is quoted is one word", r#"tag="View Lock" set"#, r#"tag="View Lock" set"#),
        ("masked by its sender", "user <*> and <*>", "user <*> and <*>"),
        ("not ASCII", "größer als 5 €", "größer als <*> €"),
        ("nothing", "", ""),
        ("only spaces between", "a  b\tc", "a b c"),
    ];
    for (case, line, want) in cases {
        assert_eq!(texts(&[line]), [want], "{case}");
    }
}

#[test]
fn templates_become_one_when_their_words_vary() {
    type Case = (&'static str, &'static [&'static str], &'static [&'static str]);
    let cases: [Case; 10] = [
        (
            "few words are kinds",
            &["VM started now", "VM paused now", "VM resumed now", "VM stopped now"],
            &["VM started now", "VM paused now", "VM resumed now", "VM stopped now"],
        ),
        (
            "names are seen earlier",
            &["call getUser done ok", "call putUser done ok", "call endUser done ok"],
            &["call <*> done ok"],
        ),
        ("a field that may be nothing", &["open a ws=null, ok", "open a ws=W{7}, ok"], &["open a ws=<*>, ok"]),
        (
            "another field is another template",
            &["set a x=y now", "set a z=y now", "set a w=y now"],
            &["set a x=y now", "set a z=y now", "set a w=y now"],
        ),
        (
            "what surrounds the value stays",
            &["go f(aB) end on", "go f(aC) end on", "go f(aD) end on"],
            &["go f(<*>) end on"],
        ),
        (
            "true and false are two",
            &["ready ok=true now", "ready ok=false now"],
            &["ready ok=true now", "ready ok=false now"],
        ),
        (
            "one common word is little",
            &["aB called", "aC called", "aD called"],
            &["aB called", "aC called", "aD called"],
        ),
        (
            "not everything may vary",
            &["aB cD", "bB dD", "cB eD", "dB fD", "eB gD", "fB hD"],
            &["aB cD", "bB dD", "cB eD", "dB fD", "eB gD", "fB hD"],
        ),
        (
            "one word among many equal ones",
            &[
                "login of anna from 1 was refused here",
                "login of bert from 2 was refused here",
                "login of carl from 3 was refused here",
                "login of dora from 4 was refused here",
            ],
            &["login of <*> from <*> was refused here"],
        ),
        (
            "two places at once",
            &["in aB it is xY for now", "in aC it is xZ for now", "in aD it is xW for now", "in q it is z for now"],
            &["in <*> it is <*> for now"],
        ),
    ];
    for (case, lines, want) in cases {
        assert_eq!(texts(lines), want, "{case}");
    }
}

#[test]
fn a_template_keeps_its_identity_when_it_becomes_more_general() {
    let mut miner = miner();
    let names = ["anna", "bert", "carl", "dora", "emil", "fritz", "gerd"];
    let ids: Vec<TemplateId> =
        names.iter().map(|name| miner.observe(Nanos(1), &format!("user {name} logged in")).id).collect();
    assert_eq!(ids[6], ids[0]);
    assert_eq!(miner.len(), 1);
    for id in &ids {
        assert_eq!(miner.resolve(*id), ids[0]);
        assert_eq!(miner.template(*id).map(|template| template.count), Some(7));
    }
    let found = miner.observe(Nanos(2), "user heidi logged in");
    assert_eq!((found.id, found.is_new), (ids[0], false));
    assert_eq!(found.parameters().collect::<Vec<_>>(), ["heidi"]);
    // Another miner that hears the same first line gives the same identity.
    assert_eq!(Miner::new(MinerLimits::default()).observe(Nanos(9), "user anna logged in").id, ids[0]);
    assert_eq!(TemplateId::parse(&ids[0].to_string()), Some(ids[0]));
}

#[test]
fn levels_keep_templates_apart() {
    let mut miner = miner();
    let one = miner.observe(Nanos(0), r#"{"level":"info","msg":"cache \"a\" took 1ms"}"#);
    assert_eq!(one.parameters().collect::<Vec<_>>(), ["1ms"]);
    let one = one.id;
    let two = miner.observe(Nanos(0), r#"{"level":"error","msg":"cache \"a\" took 2ms"}"#).id;
    let three = miner.observe_said(Nanos(0), Said { level: Level::Error, ..Said::read("cache \"a\" took 3ms") }).id;
    assert!(one != two);
    assert_eq!(two, three);
}

#[test]
fn long_lines_end_in_a_value() {
    let words = vec!["word"; 100].join(" ");
    let text = texts(&[&words]).concat();
    assert_eq!(text.split(' ').count(), 64);
    assert!(text.ends_with("word <*>"));
    let letters = format!("begin {}", "é".repeat(5_000));
    assert_eq!(texts(&[&letters]), ["begin <*>"]);
}

/// Lines of words from a small vocabulary, so that they often are alike.
fn lines() -> impl proptest::strategy::Strategy<Value = Vec<String>> {
    use proptest::prelude::*;
    let word = prop_oneof![
        4 => prop::sample::select(vec!["took", "user", "failed", "ok", "in", "and", "by", "-", "<*>"]).prop_map(str::to_owned),
        2 => "[a-h]{1,3}",
        2 => "[a-c][A-C][a-c]",
        2 => "[0-9]{1,3}(ms)?",
        1 => "(x|y)=([a-f]{1,2}|[0-9]{1,2}|null),?",
        1 => "[(\\[\"'a-z0-9/:.,=)\\]é-]{1,8}",
        1 => "k=\"[a-z0-9]{1,4}\"",
    ];
    let line = prop::collection::vec(word, 1..7).prop_map(|words| words.join(" "));
    prop::collection::vec(line, 0..120)
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn parameters_put_back_give_the_line(lines in lines()) {
        let mut miner = miner();
        for line in &lines {
            let found = miner.observe_said(Nanos(0), Said { message: line.as_str().into(), level: Level::Unknown, trace: None });
            let (id, parameters) = (found.id, found.parameters().map(str::to_owned).collect::<Vec<_>>());
            let template = miner.template(id).expect("just observed");
            let mut pieces = template.text.split("<*>");
            let mut line_again = pieces.next().unwrap_or_default().to_owned();
            proptest::prop_assert_eq!(pieces.clone().count(), parameters.len());
            for (piece, parameter) in pieces.zip(&parameters) {
                line_again.push_str(parameter);
                line_again.push_str(piece);
            }
            proptest::prop_assert_eq!(&line_again, line);
        }
    }

    #[test]
    fn a_restored_miner_goes_on_as_the_saved_one(lines in lines(), at in 0_usize..120) {
        let limits = MinerLimits { templates: 12, bytes: 1 << 20 };
        let mut one = Miner::new(limits);
        let (before, after) = lines.split_at(at.min(lines.len()));
        for (at, line) in before.iter().enumerate() {
            one.observe(Nanos(at as i64), line);
        }
        let written = serde_json::to_string(&one.save()).expect("a state can be written");
        let mut two = Miner::restore(serde_json::from_str(&written).expect("it can be read"), limits).expect("same version");
        proptest::prop_assert_eq!(one.save(), two.save());
        for line in after {
            let (first, second) = (one.observe(Nanos(5), line), two.observe(Nanos(5), line));
            proptest::prop_assert_eq!((first.id, first.is_new), (second.id, second.is_new));
        }
        proptest::prop_assert_eq!(one.save(), two.save());
    }

    #[test]
    fn every_line_is_counted_in_one_template(lines in lines()) {
        let mut miner = miner();
        let ids: Vec<TemplateId> = lines.iter().map(|line| miner.observe(Nanos(0), line).id).collect();
        proptest::prop_assert_eq!(miner.templates().map(|template| template.count).sum::<u64>(), lines.len() as u64);
        for template in miner.templates() {
            let lines = ids.iter().filter(|id| miner.resolve(**id) == template.id).count();
            proptest::prop_assert_eq!(template.count, lines as u64);
        }
    }

    #[test]
    fn memory_stays_bounded(lines in proptest::collection::vec("[a-z]{1,9}( [a-zA-Z0-9=]{1,9}){0,4}", 0..300)) {
        let limits = MinerLimits { templates: 20, bytes: 12_000 };
        let mut miner = Miner::new(limits);
        for line in &lines {
            miner.observe(Nanos(0), line);
            proptest::prop_assert!(miner.len() <= limits.templates && miner.bytes <= limits.bytes);
            proptest::prop_assert_eq!(miner.exact.len(), miner.len());
            proptest::prop_assert_eq!(miner.groups.values().map(|group| group.members.len()).sum::<usize>(), miner.len());
            proptest::prop_assert!(miner.absorbed.len() <= limits.templates * 4);
        }
        let held: u64 = miner.templates().map(|template| template.count).sum();
        proptest::prop_assert!(miner.dropped() > 0 || held == lines.len() as u64);
    }
}
