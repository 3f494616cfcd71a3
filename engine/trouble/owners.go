package trouble

var ownerTroubles = Group{"Owners and permissions", []*Trouble{}}
