package trouble

var stepTroubles = Group{"Steps", []*Trouble{}}
