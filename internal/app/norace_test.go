//go:build !race

package app

// raceDetector says that the tests run under the race detector.
const raceDetector = false
