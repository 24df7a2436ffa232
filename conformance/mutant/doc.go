// Package mutant makes faulty specimens: a package, checkpoint, record or host
// input with one seeded fault each. They prove that the gate catches what it
// says it catches; nothing in the product knows of them.
package mutant
