//! `config`: which value wins, and which values are refused.

use crate::support::Test;

#[test]
fn a_flag_goes_before_the_environment_and_that_before_the_file() {
    let file = "port = 1\nqueued-calls = 1\ntimeout-default = \"2s\"\n";
    Test::new("config --config server.toml --port 3")
        .file("server.toml", file)
        .environment("WASM_EXEC_PORT", "2")
        .environment("WASM_EXEC_QUEUED_CALLS", "2")
        .stdout_has("port = 3 # flag\n")
        .stdout_has("queued-calls = 2 # environment WASM_EXEC_QUEUED_CALLS\n")
        .stdout_has("timeout-default = \"2s\" # file server.toml\n")
        .stdout_has("timeout-maximum = \"1m\" # default\n")
        .run();
    Test::new("config")
        .file("server.toml", file)
        .environment("WASM_EXEC_CONFIG", "server.toml")
        .stdout_has("port = 1 # file server.toml\n")
        .run();
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let printed = Test::new("config").run();
    for line in [
        "port = 4000",
        "listen = [\"127.0.0.1\", \"::1\"]",
        "host = []",
        "allow-origin = []",
        "allow-anonymous = false",
        "memory = false",
        "store-cache-bytes = \"64MiB\"",
        "artifacts-bytes = \"4GiB\"",
        "log = \"info\"",
        "log-format = \"auto\"",
        "timeout-default = \"1s\"",
        "timeout-maximum = \"1m\"",
        "memory-default = \"64MiB\"",
        "memory-maximum = \"256MiB\"",
        "guest-memory = \"4GiB\"",
        "fuel-maximum = 9007199254740991",
        "output-default = \"1MiB\"",
        "output-maximum = \"16MiB\"",
        "table-elements = 100000",
        "stack-bytes = \"512KiB\"",
        "wasm-bytes = \"32MiB\"",
        "request-bytes = \"97MiB\"",
        "graph-modules = 64",
        "graph-depth = 16",
        "compile-timeout = \"1m\"",
        "compile-cpu = \"1m\"",
        "compile-memory = \"2GiB\"",
        "connections = 10000",
        "client-connections = 1000",
        "client-requests = 128",
        "client-requests-per-second = 1000",
        "limit-loopback = false",
        "sessions = 1000",
        "sessions-per-client = 500",
        "session-idle-default = \"5m\"",
        "session-idle-maximum = \"1h\"",
        "session-instances = 1024",
        "bodies-bytes = \"512MiB\"",
        "answers-bytes = \"512MiB\"",
        "concurrent-calls = 256",
        "queued-calls = 1024",
        "queued-compilations = 256",
        "ready-programs = 10000",
        "ready-bytes = \"1GiB\"",
        "ready-mappings = 32768",
    ] {
        assert!(printed.contains(&format!("{line} # default\n")), "{line} in\n{printed}");
    }
    // Those of this machine.
    for setting in ["data-directory", "workers", "concurrent-compilations"] {
        assert!(
            printed.lines().any(|line| line.starts_with(&format!("{setting} = "))),
            "{setting}"
        );
    }
    let network = [
        "p2p = false",
        "peer = []",
        "p2p-listen = [\"/ip4/0.0.0.0/udp/4001/quic-v1\", \"/ip4/0.0.0.0/tcp/4001\"]",
        "trust = []",
        "no-mdns = false",
    ];
    if cfg!(all(feature = "network", not(feature = "p2p"))) {
        for line in network {
            assert!(printed.contains(&format!("{line} # default\n")), "{line} in\n{printed}");
        }
    }
    let network = if cfg!(feature = "network") { network.len() } else { 0 };
    assert_eq!(printed.lines().count(), 48 + network);
}

#[test]
fn what_is_printed_can_be_read_again() {
    let arguments = "config --listen [::1]:80,127.0.0.1 --host a.org --host b.org --timeout-default \
        1500ms --wasm-bytes 1000 -d /var/lib/wasm --log warn,wasm_exec=debug --log-format json";
    let values = |printed: &str| -> Vec<String> {
        printed.lines().map(|line| line.split(" #").next().unwrap().to_owned()).collect()
    };
    let printed = Test::new(arguments).run();
    let again = Test::new("config --config printed.toml").file("printed.toml", &printed).run();
    assert_eq!(values(&printed), values(&again));
    assert!(again.lines().all(|line| line.ends_with(" # file printed.toml")), "{again}");
    for line in [
        "listen = [\"[::1]:80\", \"127.0.0.1\"]",
        "host = [\"a.org\", \"b.org\"]",
        "timeout-default = \"1s 500ms\"",
        "wasm-bytes = \"1000\"",
        "data-directory = \"/var/lib/wasm\"",
    ] {
        assert!(values(&printed).iter().any(|value| value == line), "{line} in\n{printed}");
    }
}

#[test]
fn sizes_are_read_the_same_everywhere() {
    let line = "stack-bytes = \"1MiB\" #";
    for size in ["1MiB", "1024KiB", "1048576"] {
        Test::new(&format!("config --stack-bytes {size}")).stdout_has(line).run();
        Test::new("config").environment("WASM_EXEC_STACK_BYTES", size).stdout_has(line).run();
    }
    for size in ["\"1MiB\"", "\"1048576\"", "1048576"] {
        Test::new("config --config server.toml")
            .file("server.toml", format!("stack-bytes = {size}"))
            .stdout_has(line)
            .run();
    }
}

#[test]
fn memory_makes_the_data_directory_meaningless() {
    let printed = Test::new("config -m")
        .stdout_has("memory = true # flag\n")
        .stdout_has("artifacts-bytes = \"256MiB\" # default\n")
        .run();
    assert!(!printed.contains("data-directory"));
    Test::new("config --config server.toml --memory=false")
        .file("server.toml", "memory = true\ndata-directory = \"/srv\"")
        .stdout_has("data-directory = \"/srv\" # file server.toml\n")
        .run();
}

#[test]
fn a_file_that_means_nothing_is_refused() {
    for (content, message) in [
        (
            "port = 1\nprot = 2\nconfig = \"x\"",
            "error: server.toml: unknown members: config, prot\n",
        ),
        (
            "port = 70000",
            "error: server.toml: port: invalid value: integer `70000`, expected u16\n",
        ),
        ("memory = \"yes\"", "error: server.toml: memory: invalid type: string \"yes\""),
        ("stack-bytes = 0", "error: server.toml: stack-bytes: expected a number of bytes above 0"),
        ("listen = [\"localhost\"]", "error: server.toml: listen: expected an IP address"),
        ("listen = []", "error: listen is empty"),
        ("port = 1\nport: 2", "error: server.toml, line 2: "),
    ] {
        Test::new("config --config server.toml")
            .file("server.toml", content)
            .status(1)
            .stdout("")
            .stderr_has(message)
            .run();
    }
    Test::new("config --config missing.toml")
        .status(1)
        .stderr_has("error: cannot read the configuration file missing.toml: No such file")
        .run();
}

#[test]
fn settings_that_contradict_each_other_are_both_named() {
    for (flags, message) in [
        (
            "--timeout-default 2s --timeout-maximum 1s",
            "error: timeout-default (2s, flag) is more than timeout-maximum (1s, flag)\n",
        ),
        (
            "--memory-default 512MiB",
            "error: memory-default (512MiB, flag) is more than memory-maximum (256MiB, default)\n",
        ),
        ("--output-maximum 1KiB", "output-default (1MiB, default) is more than output-maximum"),
        ("--request-bytes 1MiB", "wasm-bytes (32MiB, default) is more than request-bytes"),
        ("--bodies-bytes 1MiB", "request-bytes (97MiB, default) is more than bodies-bytes"),
        ("--sessions 2 --sessions-per-client 3", "sessions-per-client (3, flag) is more than"),
        ("--fuel-maximum 9007199254740992", "error: fuel-maximum is 9007199254740992"),
        ("--stack-bytes 65MiB", "error: stack-bytes is 65MiB; it can be 64MiB at most"),
        ("--log a=b=c", "error: log: \"a=b=c\" is not a filter: "),
    ] {
        Test::new(&format!("config {flags}")).status(1).stdout("").stderr_has(message).run();
    }
    // What holds one body grows with it.
    Test::new("config --wasm-bytes 1GiB").stdout_has("bodies-bytes = \"3073MiB\" # default").run();
}

#[test]
fn zero_is_refused_where_it_makes_no_sense() {
    for flag in [
        "--workers",
        "--connections",
        "--concurrent-calls",
        "--graph-depth",
        "--timeout-default",
        "--wasm-bytes",
    ] {
        Test::new(&format!("config {flag} 0")).status(2).stderr_has(flag).run();
    }
    Test::new("config --queued-calls 0").stdout_has("queued-calls = 0 # flag\n").run();
}
