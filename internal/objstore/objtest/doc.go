// Package objtest holds every objstore.Bucket to its contract (Run), and gives
// tests a bucket whose faults they script (Faulty).
package objtest
