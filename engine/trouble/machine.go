package trouble

var machineTroubles = Group{"The machine", []*Trouble{}}
