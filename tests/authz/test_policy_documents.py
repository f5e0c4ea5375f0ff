"""One document to one policy: all that it says is read, or refused at its place with what would be right."""

from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy_authz.config import load_policies
from envoy_authz.config.strings import check_method, check_path, check_principal
from envoy_authz.core import Action, Operation, Policy, PolicySet, Rule, Source
from envoy_sidecar.config.findings import Finding, InvalidConfigurationError, Position

HERE = "§"
"""Stands in a document where the finding is expected."""

HEAD = """\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: shop}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "policies.yaml"


def findings(file: Path, text: str) -> tuple[Finding, ...]:
    file.write_text(text)
    with pytest.raises(InvalidConfigurationError) as caught:
        load_policies([file])
    return caught.value.findings


def place(marked: str, file: Path) -> Position:
    lines = marked.partition(HERE)[0].split("\n")
    return Position(str(file), len(lines), len(lines[-1]) + 1)


def test_every_field_that_is_supported_is_read(file: Path) -> None:
    file.write_text(
        dedent("""\
        # A policy as kubectl writes it out, and one that is as short as can be.
        apiVersion: security.istio.io/v1
        kind: AuthorizationPolicy
        metadata:
          name: orders.v1
          namespace: shop
          uid: 0b7c
          generation: 3
          labels: {team: orders}
          annotations: {note: reviewed, istio.io/dry-run: "false"}
        spec:
          action: DENY
          rules:
            - from:
                - source: {principals: ["cluster.local/ns/a/*", "*"], notPrincipals: ["spiffe://cluster.local/ns/a/sa/b"]}
                - source: {notPrincipals: ["*/sa/web", "spiffe://*"]}
              to:
                - operation: {methods: [GET, "P*"], notMethods: [PUT], paths: ["/a", "/b/*", "*.png", "*"], notPaths: [/a/c]}
                - operation: {notMethods: ["*"]}
            - to: [{operation: {paths: [/d]}}]
        status: {conditions: []}
        ---
        {"apiVersion": "security.istio.io/v1beta1", "kind": "AuthorizationPolicy", "metadata": {"name": "nothing"}, "spec": {}}
        """)
    )
    loaded = load_policies([file])
    assert loaded.warnings == ()
    assert loaded.policies == (
        Policy(
            "orders.v1",
            "shop",
            Action.DENY,
            (
                Rule(
                    (
                        Source(("cluster.local/ns/a/*", "*"), ("spiffe://cluster.local/ns/a/sa/b",)),
                        Source(not_principals=("*/sa/web", "spiffe://*")),
                    ),
                    (
                        Operation(("GET", "P*"), ("PUT",), ("/a", "/b/*", "*.png", "*"), ("/a/c",)),
                        Operation(not_methods=("*",)),
                    ),
                ),
                Rule(operations=(Operation(paths=("/d",)),)),
            ),
        ),
        Policy("nothing"),
    )


def test_rules_that_match_everything_are_read(file: Path) -> None:
    file.write_text(HEAD + "spec: {rules: [{}]}")
    assert load_policies([file]).policies == (Policy("p", "shop", Action.ALLOW, (Rule(),)),)


def test_a_rule_that_denies_everything_is_a_warning(file: Path) -> None:
    file.write_text(HEAD + "spec:\n  action: DENY\n  rules: [{}]")
    loaded = load_policies([file])
    assert loaded.policies == (Policy("p", "shop", Action.DENY, (Rule(),)),)
    assert list(map(str, loaded.warnings)) == [
        f"{file}:6:11: warning: this rule denies every request (spec.rules[0]); say which in `from` or `to`"
    ]


IDENTITY = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
DOCUMENTS = [
    # the document, what is wrong, what would be right
    ("§- a", "must be a mapping, is list", ""),
    ("§just text", "must be a mapping, is text", ""),
    ("§apiVersion: v1", "has no kind", "AuthorizationPolicy"),
    ("kind: §", "has no kind", "AuthorizationPolicy"),
    ("kind: §List\nitems: []", "kind 'List' is not supported", "AuthorizationPolicy"),
    (
        "§kind: AuthorizationPolicy\nmetadata: {name: p}\nspec: {}",
        "apiVersion is missing",
        "security.istio.io/v1",
    ),
    (
        HEAD.replace("security", "§networking") + "spec: {}",
        "'networking.istio.io/v1' is unknown",
        "write security",
    ),
    (f"§{IDENTITY}spec: {{}}", "metadata.name is missing", "denials name"),
    (f"{IDENTITY}metadata: §{{namespace: a}}\nspec: {{}}", "metadata.name is missing", "denials name"),
    (f"{IDENTITY}metadata: {{name: §Orders}}\nspec: {{}}", "'Orders' is not a name", "lower-case"),
    (f"{IDENTITY}metadata: {{name: §'{'a.' * 127}a'}}\nspec: {{}}", "is not a name", "at most 253"),
    (f"{IDENTITY}metadata: {{name: §7}}\nspec: {{}}", "must be text, is integer", "quotes"),
    (f"{IDENTITY}metadata: {{name: §''}}\nspec: {{}}", "is an empty string", "write a value"),
    (f"{IDENTITY}metadata: {{name: §[p]}}\nspec: {{}}", "must be text, is list", ""),
    (f"{IDENTITY}metadata: {{name: p, namespace: §a.b}}\nspec: {{}}", "is not a namespace", "at most 63"),
    (f"{IDENTITY}metadata: {{name: p, §nmespace: a}}\nspec: {{}}", "unknown key 'nmespace'", "'namespace'"),
    (f"{IDENTITY}metadata: {{name: p, §name: q}}\nspec: {{}}", "'name' is given twice", "line 3"),
    (
        f"{IDENTITY}metadata: {{name: p, annotations: §istio.io/dry-run}}\nspec: {{}}",
        "must be a mapping, is text",
        "",
    ),
    (
        f"{IDENTITY}metadata: {{name: p, annotations: {{istio.io/dry-run: §'yes'}}}}\nspec: {{}}",
        "'yes' is neither true nor false",
        "true",
    ),
    (
        f"{IDENTITY}metadata: {{name: p, annotations: {{a: b, §a: c}}}}\nspec: {{}}",
        "'a' is given twice",
        "line 3",
    ),
    ("§" + HEAD, "spec is missing", "`spec: {}`"),
    (HEAD + "spec: §", "must be a mapping, is nothing", ""),
    (HEAD + "§rules: []\nspec: {}", "unknown key 'rules'", "known here: apiVersion"),
    (HEAD + "spec: {}\n§spec: {}", "'spec' is given twice", "the first is in line 4"),
]
SPECS = [
    # what follows `spec:`, what is wrong, what would be right
    ("§[]", "must be a mapping, is list", ""),
    ("{§actoin: DENY}", "unknown key 'actoin'", "did you mean 'action'?"),
    ("{§when: []}", "unknown key 'when'", "known here: action, rules, selector"),
    ("{selector: §{}}", "selects no labels", "every workload"),
    ("{selector: {matchLabels: §{}}}", "selects no labels", "every workload"),
    ("{selector: {matchLabels: {app: §'a*'}}}", "compared as they are", "the label's value"),
    ("{selector: {matchLabels: {app: §1}}}", "must be text, is integer", "quotes"),
    ("{§mode: SHADOW}", "'mode' is not supported yet", "envoy-sidecars.dev/v1alpha1"),
    ("{§denyResponse: {status: 404}}", "'denyResponse' is not supported yet", "envoy-sidecars.dev"),
    ("{§allowMutations: {}}", "'allowMutations' is not supported yet", "envoy-sidecars.dev"),
    ("{§targetRef: {}}", "'targetRef' is not supported yet", "leave this policy to the mesh"),
    ("{§targetRefs: []}", "'targetRefs' is not supported yet", "leave this policy to the mesh"),
    ("{§provider: {name: opa}}", "'provider' is not supported yet", "leave this policy to the mesh"),
    ("{action: §CUSTOM}", "action CUSTOM is not supported", "this service is what CUSTOM calls"),
    ("§{action: AUDIT}", "this AUDIT policy has no rules, and so audits nothing", "`rules: [{}]`"),
    ("{action: §Deny}", "unknown action 'Deny'", "write ALLOW, DENY or AUDIT"),
    ("{action: §[DENY]}", "must be text, is list", ""),
    ("{action: §''}", "unknown action ''", "write ALLOW, DENY or AUDIT"),
    ("§{action: DENY}", "this DENY policy has no rules, and so denies nothing", "`rules: [{}]`"),
    ("{rules: §null}", "must be a list, is nothing", ""),
    ("{rules: §{}}", "must be a list, is mapping", ""),
    ("{rules: §[]}", "is an empty list", "`rules: [{}]` to match everything"),
    ("{rules: [§GET]}", "must be a mapping, is text", ""),
    ("{rules: §[ ]}", "is an empty list", "remove `rules`"),
]
RULES = [
    # a rule, what is wrong, what would be right
    ("{when: §[]}", "is an empty list", "remove it"),
    ("{when: [§{values: [a]}]}", "has no key", "request.headers[x-team]"),
    ("{when: [§{key: source.ip}]}", "compares with nothing", "`values` or `notValues`"),
    ("{when: [{key: §source.ipp, values: [a]}]}", "'source.ipp' is no attribute", "known: source.ip"),
    ("{when: [{key: §request.headers, values: [a]}]}", "is no attribute", "request.headers[…]"),
    ("{when: [{key: §'source.ip[a]', values: [10.0.0.1]}]}", "is no attribute", "known"),
    ("{when: [{key: §'request.headers[a][b]', values: [a]}]}", "more than one name", "known"),
    ("{when: [{key: §'request.body.json[a]', values: [a]}]}", "is not Istio's", "envoy-sidecars.dev"),
    ("{when: [{key: source.ip, values: [§a]}]}", "is not an IP address or block", "10.0.0.0/8"),
    ("{when: [{key: destination.port, values: [§'0']}]}", "is not a port", "from 1 to 65535"),
    ("{when: [{key: request.auth.principal, notValues: [§'a*b']}]}", "not at its one end", "at most one"),
    ("{when: [{§cel: 'true'}]}", "'cel' is not supported yet", "envoy-sidecars.dev"),
    ("{from: [{source: {ipBlocks: [§10.0.0.0/33]}}]}", "is not an IP address or block", "10.0.0.0/8"),
    ("{from: [{source: {namespaces: [§Shop]}}]}", "is not a namespace", "lower-case"),
    ("{from: [{source: {trustDomains: [§Shop]}}]}", "is not a trust domain", "lower-case"),
    ("{from: [{source: {serviceAccounts: [§'a/*']}}]}", "is not a service account", "without `*`"),
    (
        "{from: [{source: {principals: [a], serviceAccounts: §[a/b]}}]}",
        "can't stand beside principals",
        "in one way",
    ),
    (
        "{from: [{source: {serviceAccounts: §[" + "a/b, " * 16 + "c/d]}}]}",
        "more than 16 service accounts",
        "namespaces",
    ),
    ("{to: [{operation: {hosts: [§'http://a/']}}]}", "is a URL", "shop.example"),
    ("{to: [{operation: {hosts: [§'a b']}}]}", "is not a host", "one host in each item"),
    ("{to: [{operation: {ports: [§80]}}]}", "must be text, is integer", "quotes"),
    ("{to: [{operation: {notPorts: [§'http']}}]}", "is not a port", "65535"),
    ("{to: [{operation: {paths: [§'/{**}/{*}']}}]}", "an operator after", "`*`"),
    ("{to: [{operation: {paths: [§'/a{*}']}}]}", "neither literal nor an operator", "`*`"),
    ("{to: [{operation: {paths: [§'{*}/a']}}]}", "does not begin with `/`", "`*`"),
    ("{to: [{operation: {paths: [§'/{*}/a b']}}]}", "matches no path", "after that"),
    (
        "{to: [{operation: {§grpcMethods: [a/b]}}]}",
        "'grpcMethods' is not supported yet",
        "envoy-sidecars.dev",
    ),
    ("{§form: []}", "unknown key 'form'", "did you mean 'from'?"),
    ("{from: §null}", "must be a list, is nothing", ""),
    ("{from: §[]}", "is an empty list", "remove it to match any"),
    ("{to: §{operation: {}}}", "must be a list, is mapping", ""),
    ("{from: [§{}]}", "says nothing about the source", "remove it to match any"),
    ("{to: [{operation: §{}}]}", "says nothing about the operation", "remove it to match any"),
    ("{from: [§a]}", "must be a mapping, is text", ""),
    ("{from: [{§principals: [a]}]}", "unknown key 'principals'", "known here: source"),
    ("{from: [{source: {principals: [a]}, §source: {}}]}", "'source' is given twice", "would be lost"),
    ("{from: [{source: §a}]}", "must be a mapping, is text", ""),
    ("{from: [{source: {§principal: [a]}}]}", "unknown key 'principal'", "did you mean 'principals'?"),
    ("{from: [{source: {principals: §a}}]}", "must be a list, is text", ""),
    ("{from: [{source: {principals: §[]}}]}", "is an empty list", "at least one value"),
    ("{from: [{source: {principals: [§'']}}]}", "is an empty string", "write a value"),
    ("{from: [{source: {principals: [§null]}}]}", "must be text, is nothing", ""),
    ("{from: [{source: {principals: [§true]}}]}", "must be text, is boolean", "quotes"),
    ("{from: [{source: {notPrincipals: [a, §'spiffe://']}}]}", "an empty string", "write a value"),
    ("{from: [{source: {principals: [§'a*b']}}]}", "a `*` that is not at its one end", "at most one `*`"),
    ("{to: [{operation: {methods: [§get]}}]}", "is not in upper case", "write GET"),
    ("{to: [{operation: {methods: [§1.0]}}]}", "must be text, is number", "quotes"),
    ("{to: [{operation: {notMethods: [§'GET,PUT']}}]}", "is not an HTTP method", "one method in each item"),
    ("{to: [{operation: {paths: [/a, §b]}}]}", "does not begin with `/`", "write '/b'"),
]


def refused(file: Path, marked: str, message: str, hint: str) -> None:
    found = findings(file, marked.replace(HERE, ""))
    assert [finding.severity for finding in found] == ["error"], found
    assert found[0].position == place(marked, file)
    assert message in found[0].message
    assert hint in found[0].hint


@pytest.mark.parametrize(("marked", "message", "hint"), DOCUMENTS)
def test_a_document_is_refused_where_it_is_wrong(file: Path, marked: str, message: str, hint: str) -> None:
    refused(file, marked, message, hint)


@pytest.mark.parametrize(("marked", "message", "hint"), SPECS)
def test_a_spec_is_refused_where_it_is_wrong(file: Path, marked: str, message: str, hint: str) -> None:
    refused(file, f"{HEAD}spec: {marked}", message, hint)


@pytest.mark.parametrize("action", ["ALLOW", "DENY"])
@pytest.mark.parametrize(("marked", "message", "hint"), RULES)
def test_a_rule_is_refused_where_it_is_wrong(
    file: Path, action: str, marked: str, message: str, hint: str
) -> None:
    refused(file, f"{HEAD}spec:\n  action: {action}\n  rules:\n    - {marked}\n", message, hint)


def test_a_finding_says_where_inside_the_document_it_stands(file: Path) -> None:
    text = HEAD + "spec: {rules: [{}, {to: [{operation: {paths: [/a, b], ports: ['x']}}]}]}"
    assert [finding.path for finding in findings(file, text)] == [
        "spec.rules[1].to[0].operation.paths[1]",
        "spec.rules[1].to[0].operation.ports[0]",
    ]


GOOD_PATHS = [
    "/",
    "/a",
    "/a/",
    "//a",
    "/a/*",
    "/a.*",
    "/.well-known/*",
    "*",
    "*/",
    "*.png",
    "*a",
    "/a%2Fb",
    "/~a;b=c",
    "/{**}",
    "/a/{*}/b",
    "/{*}/b/{**}",
    "/a/{**}/b",
]
BAD_PATHS = {
    "": "matches nothing",
    "**": "not at its one end",
    "/*/a": "not at its one end",
    "*a*": "not at its one end",
    "a": "write '/a'",
    "a*": "write '/a*'",
    "/a?b": "write '/a'",
    "/a#b": "write '/a'",
    "*?b": "query or fragment",
    "/a/../b": "write '/b'",
    "/a/.": "write '/a/'",
    "/./*": "leave out",
    "*/../a": "leave out",
    "/%61": "write '/a'",
    "/%2f": "write '/%2F'",
    "/%2f*": "leave out",
    "/a\\b": "write '/a/b'",
    "/100%": "write '/100%25'",
    "/straße": "write '/stra%C3%9Fe'",
    "/a b": "write '/a%20b'",
    "/a\n": "write '/a%0A'",
    "/{a}": "write '/%7Ba%7D'",
    "/\ud800": "write '/%ED%A0%80'",
    "/a{*}": "neither literal",
    "/{**}/{*}": "must be the last",
}


@pytest.mark.parametrize("path", GOOD_PATHS)
def test_a_path_that_can_match_is_accepted(path: str) -> None:
    assert check_path(path) is None


@pytest.mark.parametrize(("path", "problem"), BAD_PATHS.items())
def test_a_path_that_cannot_match_is_refused(path: str, problem: str) -> None:
    assert problem in "; ".join(check_path(path) or ())


@pytest.mark.parametrize(
    "principal", ["*", "spiffe://*", "a", "a.b/*", "a/b*", "a_b/ns/C/sa/d-e", "*/sa/D", "*a"]
)
def test_a_principal_that_can_match_is_accepted(principal: str) -> None:
    assert check_principal(principal) is None


@pytest.mark.parametrize(
    "principal",
    [
        "",
        "spiffe://",
        "*a*",
        "CN=a",
        "a b",
        "A/b",
        "/a",
        "a//b",
        "a/é",
        "a/%61",
        "https://a",
        "*\n",
        "a\n",
        "SPIFFE://a",
    ],
)
def test_a_principal_that_cannot_match_is_refused(principal: str) -> None:
    assert check_principal(principal) is not None


@pytest.mark.parametrize("method", ["GET", "*", "P*", "*T", "M-SEARCH"])
def test_a_method_that_can_match_is_accepted(method: str) -> None:
    assert check_method(method) is None


@pytest.mark.parametrize("method", ["", "get", "p*", "GET ", "GET\n", "GET,PUT", "G*T", "ÄT"])
def test_a_method_that_cannot_match_is_refused(method: str) -> None:
    assert check_method(method) is not None


@given(st.text(), st.sampled_from([check_method, check_path, check_principal]))
def test_what_is_accepted_can_be_compiled(text: str, check: object) -> None:
    operation, source = Operation(), Source()
    if check is check_method and check_method(text) is None:
        operation = Operation(methods=(text,))
    if check is check_path and check_path(text) is None:
        operation = Operation(paths=(text,))
    if check is check_principal and check_principal(text) is None:
        source = Source(principals=(text,))
    PolicySet([Policy("p", rules=(Rule((source,), (operation,)),))])
