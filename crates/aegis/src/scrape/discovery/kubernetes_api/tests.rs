use super::*;

#[test]
fn a_kubeconfig_says_where_and_who() {
    let text = "apiVersion: v1\nkind: Config\ncurrent-context: b\ncontexts:\n- {name: a, context: {cluster: x, user: x}}\n\
                - {name: b, context: {cluster: c, user: u, namespace: shop}}\nclusters:\n\
                - name: c\n  cluster: {server: 'https://k:6443/', certificate-authority-data: Q0E=}\n";
    for (case, user, want) in [
        (
            "token",
            "users:\n- {name: u, user: {token: t}}\n",
            r#"Header { scheme: "Bearer", credentials: Inline(***) }"#,
        ),
        (
            "token file",
            "users:\n- {name: u, user: {tokenFile: t}}\n",
            r#"Header { scheme: "Bearer", credentials: File("/k/t") }"#,
        ),
        (
            "basic",
            "users:\n- {name: u, user: {username: n, password: p}}\n",
            "Basic { username: Inline(***), password: Inline(***) }",
        ),
        ("certificate", "users:\n- {name: u, user: {client-certificate: c, client-key-data: S0VZ}}\n", "None"),
    ] {
        let (url, http, namespace) = kubeconfig(&format!("{text}{user}"), Path::new("/k")).unwrap();
        assert_eq!((url.as_str(), namespace.as_deref()), ("https://k:6443", Some("shop")), "{case}");
        assert_eq!(http.transport.tls.ca.as_deref(), Some("CA"), "{case}");
        assert_eq!(format!("{:?}", http.credentials), want, "{case}");
        if case == "certificate" {
            assert_eq!(http.transport.tls.cert_file, Some("/k/c".into()));
            assert_eq!(http.transport.tls.key.unwrap().reveal(), "KEY");
        }
    }
    for (user, want) in [
        ("", "it has no user `u`"),
        (
            "users:\n- {name: u, user: {exec: {command: x}}}\n",
            "its user gets credentials from a program, which is not supported; use a token",
        ),
    ] {
        assert_eq!(kubeconfig(&format!("{text}{user}"), Path::new("/k")).unwrap_err(), want);
    }
    assert_eq!(kubeconfig("current-context: z\n", Path::new("/k")).unwrap_err(), "it has no context `z`");
}

#[test]
fn a_pod_finds_its_account() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("namespace"), "shop\n").unwrap();
    let api = Api::in_cluster("fd00::1", "443", dir.path());
    assert_eq!((api.base.as_str(), api.namespace().as_deref()), ("https://[fd00::1]:443", Some("shop")));
}

#[test]
fn an_expired_version_is_told_from_other_errors() {
    for (object, is_gone) in [
        (r#"{"code":410,"reason":"Gone"}"#, true),
        (r#"{"code":0,"reason":"Expired"}"#, true),
        (r#"{"code":500,"message":"no"}"#, false),
        ("7", false),
    ] {
        assert_eq!(matches!(ApiError::of_status(object), ApiError::Gone(_)), is_gone, "{object}");
    }
}
