// Command varve is bad.
package main

func main() {}
