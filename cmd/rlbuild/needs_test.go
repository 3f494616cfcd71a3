package main

import (
	"fmt"
	"testing"

	"github.com/rlbuild/rlbuild/builtins"
	"github.com/rlbuild/rlbuild/engine/script"
)

func TestNeedsOf(t *testing.T) {
	for text, want := range map[string]string{
		`print(1)`:                                                   "[] []",
		`run(from_("scratch"), "x")`:                                 "[steps] []",
		`build("dir")`:                                               "[steps] []",
		`build("dir", isolation = "oci")`:                            "[steps runtime] []",
		`from_("scratch", isolation = "chroot")`:                     "[] []",
		`from_("scratch", runtime = arg("r"))`:                       "[] []",
		`from_("scratch", runtime = "runsc")`:                        "[runtime] []",
		`run(from_("scratch"), "x", network = "private")`:            "[steps private network] []",
		`run(from_("scratch"), "x", network = "none")`:               "[steps] []",
		`from_("scratch", memory = "1g")`:                            "[runtime limits] []",
		`from_("scratch", cpu_shares = 512)`:                         "[runtime limits] []",
		`from_("scratch", cpu_shares = 0, memory = arg("m"))`:        "[] []",
		`from_("debian")`:                                            "[registries] []",
		`from_("docker.io/library/debian")`:                          "[registries] []",
		`from_("docker://127.0.0.1:5000/x")`:                         "[registries] []",
		`from_("localhost/x")`:                                       "[] []",
		`from_("oci-archive:x.tar")`:                                 "[] []",
		`from_(image = "quay.io/x/y")`:                               "[registries] []",
		`from_(arg("image"))`:                                        "[] []",
		`commit(from_("scratch"), "app")` + "\n" + `from_("app")`:    "[] []",
		`build("d", tag = "app")` + "\n" + `from_("app")`:            "[steps] []",
		`commit(from_("scratch"), "docker://r.example/app")`:         "[registries] []",
		`commit(from_("scratch"), "r.example/app")`:                  "[] []",
		`push("app")`:                                                "[registries] []",
		`push("app", "r.example/app")`:                               "[registries] []",
		`push("app", "oci:dir")`:                                     "[] []",
		`push("app", dest = "oci:dir")`:                              "[] []",
		`pull("debian")`:                                             "[registries] []",
		`host(["tar", "x"])`:                                         "[commands] [tar]",
		`host(["tar", arg("x")])`:                                    "[commands] [tar]",
		`host("tar x | gzip")`:                                       "[commands] [tar]",
		`host("if true; then tar; fi")`:                              "[] []",
		`host("PATH=/x tar")`:                                        "[] []",
		`host("$TOOL x")`:                                            "[] []",
		`host(["tar"], env = {"PATH": "/x"})`:                        "[] []",
		`host("/opt/x y")` + "\n" + `host("b")` + "\n" + `host("b")`: "[commands] [/opt/x b]",
		`def run(x, y): pass` + "\n" + `run(1, 2)`:                   "[] []",
	} {
		program, err := script.Parse(script.Options{Path: "x.star", Source: []byte(text), Predeclared: builtins.New(builtins.Options{}).Predeclared()})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		n := needsOf(program)
		if got := fmt.Sprint(n.kinds, " ", n.commands); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

func TestCertainCommands(t *testing.T) {
	for text, want := range map[string]string{
		`host(["a"])`:                                     "[a]",
		`host(["a"], check = False)`:                      "[]",
		`if arg("x", default = ""): host(["a"])`:          "[]",
		`arg("x", default = "") and host(["a"])`:          "[]",
		`y = host(["a"]) if arg("x") else host(["b"])`:    "[]",
		`def f(): host(["a"])`:                            "[a]",
		`for x in [1]: host(["a"])`:                       "[a]",
		`if arg("x"): host(["b"])` + "\n" + `host(["b"])`: "[b]",
	} {
		program, err := script.Parse(script.Options{Path: "-c", Source: []byte(text + "\n"), Predeclared: builtins.New(builtins.Options{}).Predeclared()})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := fmt.Sprint(needsOf(program).certain); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}
