// Package checkup is what a check of the machine finds: a verdict, what was measured, and the cure. The rooms that know a
// subject make the findings about it, and rlbuild doctor shows them.
package checkup

// Verdict says how a check went.
type Verdict string

const (
	OK      Verdict = "ok"
	Limited Verdict = "limited" // scripts run, but something is slower, less isolated, or not to be had
	Failed  Verdict = "failed"  // what needs this can't run
	Unknown Verdict = "unknown" // it couldn't be measured, or not by this user
)

// Need is what a script may need of a machine beyond what every script needs.
type Need string

const (
	Always         Need = ""                // every script that builds something
	Steps          Need = "steps"           // run
	Runtime        Need = "runtime"         // steps in an OCI runtime
	Limits         Need = "limits"          // steps that may use so much memory and time of processors
	PrivateNetwork Need = "private network" // steps with a network of their own
	Registries     Need = "registries"      // images that come from or go to a registry
	Commands       Need = "commands"        // programs of the host that the script calls by name
)

// Finding is one row of the report.
type Finding struct {
	Area    string  `json:"area"` // "namespaces", "IDs", "store", …: what rows are grouped by
	Name    string  `json:"name"` // what was checked; names are unique within an area
	Verdict Verdict `json:"verdict"`
	Found   string  `json:"found"`          // what was measured
	Cure    string  `json:"cure,omitempty"` // a sentence; "" when there is nothing to mend
	Need    Need    `json:"need,omitempty"` // scripts without this need do without
}
