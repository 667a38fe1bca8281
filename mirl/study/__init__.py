"""Study: its parameters, and the stages that turn files into files."""
