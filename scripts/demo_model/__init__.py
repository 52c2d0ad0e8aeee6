"""How the demo's model is made: a tiny Llama that solves short word problems, trained on a CPU in minutes."""
