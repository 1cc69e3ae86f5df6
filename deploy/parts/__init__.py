"""What the deploy commands share: checks, containers, inventory, ownership, states and targets."""
