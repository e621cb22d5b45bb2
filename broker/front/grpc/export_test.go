package grpc

// SweepDoors is a sweep of what arrives, as the clock has it every sweepEvery.
func (f *Front) SweepDoors() { f.doors.sweep() }

// Bounds that tests hold the front to.
const (
	MostSmall     = mostSmall
	MessageSweeps = messageSweeps
)
