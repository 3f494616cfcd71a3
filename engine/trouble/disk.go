package trouble

var diskTroubles = Group{"Disk and store", []*Trouble{
	NoSpace,
}}

var (
	NoSpace = &Trouble{
		Name: "no-space",
		See:  "no space left on device",
		Why:  "{detail}",
		Cure: "Free some space: the store and TMPDIR need room for the image and its layers.",
	}
)
