-- Nothing looked a set up by its position, and the body has it.
ALTER TABLE rollouts DROP COLUMN position;
